// Sizes of what users download, and the time of the demo.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { atMost, check, figure, wanted } from '../lib/bars.js';
import { WORK } from '../lib/pare.js';

const ROOT = resolve(import.meta.dirname, '../..');
const DEMO_SECONDS = 60;
const TEST_SECONDS = 300;

export function packageBars() {
  if (wanted('demo')) {
    const seconds = secondsOf('npm', ['run', '--silent', 'demo']);
    atMost('demo', seconds, DEMO_SECONDS, 's');
  }
  if (wanted('package')) {
    const [packed] = JSON.parse(
      execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', WORK], {
        cwd: ROOT,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    );
    figure('package size', `${packed.size} bytes packed, ${packed.unpackedSize} bytes unpacked, ${packed.entryCount} files`);
    const folder = mkdtempSync(join(WORK, 'install-'));
    execFileSync('npm', ['install', '--silent', '--no-audit', '--no-fund', '--prefix', folder, join(WORK, packed.filename)], {
      stdio: 'ignore',
    });
    figure('fresh install', `${folderBytes(join(folder, 'node_modules'))} bytes in node_modules`);
    const web = existsSync(join(folder, 'node_modules/onnxruntime-web'));
    check('package-without-web', web ? ['onnxruntime-web was installed for a Node user'] : []);
  }
  if (wanted('tests') && !process.env.VITEST) {
    const seconds = secondsOf('npm', ['test', '--silent']);
    atMost('tests', seconds, TEST_SECONDS, 's');
  }
}

function secondsOf(command, args) {
  const start = performance.now();
  const { status } = spawnSync(command, args, { cwd: ROOT, stdio: 'ignore' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
  return (performance.now() - start) / 1000;
}

function folderBytes(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .reduce((sum, e) => sum + statSync(join(e.parentPath ?? e.path, e.name)).size, 0);
}
