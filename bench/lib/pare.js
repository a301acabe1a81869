// Running the command line as a user does, with its wall time and peak memory.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { median } from './bars.js';

const ROOT = resolve(import.meta.dirname, '../..');
const HOOK = join(import.meta.dirname, 'peak-hook.js');
const BIN = join(ROOT, 'bin/pare.js');

/** A folder for results, removed at the end. */
export const WORK = mkdtempSync(join(tmpdir(), 'pare-bench-'));
process.on('exit', () => rmSync(WORK, { recursive: true, force: true }));

/** Models that take long to build are kept between runs. */
export const CACHE = join(ROOT, '.bench-cache');

export const DATA = resolve(process.env.PARE_DATA ?? join(ROOT, '../shared/data'));
export const shared = (path) => join(DATA, path);

/** Runs `pare ARGS`. Answers exit code, streams, seconds and peak resident bytes. */
export function pare(...args) {
  const peakFile = join(WORK, 'peak');
  const start = performance.now();
  const child = spawnSync(process.execPath, ['--import', HOOK, BIN, ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, PARE_BENCH_PEAK: peakFile },
  });
  const seconds = (performance.now() - start) / 1000;
  return {
    status: child.status,
    stdout: child.stdout,
    stderr: child.stderr,
    seconds,
    peakMB: (Number(readFileSync(peakFile, 'utf8')) * 1024) / 1e6,
  };
}

/** Runs with `--json` and answers the document; throws with the command's own words where it fails. */
export function pareJson(...args) {
  const run = pare(...args, '--json');
  if (run.status !== 0) throw new Error(`pare ${args.join(' ')} ended with ${run.status}: ${run.stderr}`);
  return { ...JSON.parse(run.stdout), seconds: run.seconds, peakMB: run.peakMB };
}

/** Median time and largest peak over several runs after one warm-up. */
export function timed(runs, ...args) {
  pareJson(...args);
  const all = Array.from({ length: runs }, () => pareJson(...args));
  return { seconds: median(all.map((r) => r.seconds)), peakMB: Math.max(...all.map((r) => r.peakMB)), last: all.at(-1) };
}
