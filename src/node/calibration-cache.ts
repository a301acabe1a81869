// Calibration results on disk: one JSON file, or a folder with one file per result. Written atomically; a file that cannot be read is said and measured again.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { MeasurementStore } from '../data/measured.js';
import { dataError } from '../errors.js';
import { writeFileAtomic } from './files.js';

const KIND = 'pare-calibration';
/** Results that one file keeps: older ones make room. */
const MOST_ENTRIES = 64;

type Entries = Record<string, unknown>;

export interface CalibrationCacheOptions {
  /** Files written by runs on shards of the data: their statistics are joined instead of running the data. */
  readonly shards?: readonly string[] | undefined;
}

/**
 * A store at `path`: a folder where one is there or the path ends with a slash, else a file. Without a path only shards are read.
 * Throws E_DATA for shards that cannot be read or do not hold what is asked for.
 */
export function openCalibrationCache(path: string | undefined, options: CalibrationCacheOptions = {}): MeasurementStore {
  const folder = path !== undefined && (/[\\/]$/.test(path) || (existsSync(path) && statSync(path).isDirectory()));
  const problems: string[] = [];
  const read = (file: string): Entries => {
    if (!existsSync(file)) return {};
    const found = entriesOf(file);
    if (typeof found !== 'string') return found;
    problems.push(`calibration cache "${file}" ${found}: its content was measured again and the file replaced`);
    return {};
  };
  let single: Entries | undefined;
  const fileOf = (key: string) => join(path!, `${key.replaceAll('.', '-')}.json`);
  const store: MeasurementStore = {
    problems,
    async get(key) {
      if (path === undefined) return undefined;
      if (folder) return read(fileOf(key))[key];
      single ??= read(path);
      return single[key];
    },
    async set(key, value) {
      if (path === undefined) return;
      if (folder) {
        await mkdir(path, { recursive: true });
        await writeFileAtomic(fileOf(key), fileText({ [key]: value }));
        return;
      }
      // Another run may have written since.
      const others = existsSync(path) ? Object.entries(unspoilt(entriesOf(path))) : [];
      const kept: Entries = Object.fromEntries([...others.filter(([k]) => k !== key), [key, value] as const].slice(-MOST_ENTRIES));
      single = kept;
      await writeFileAtomic(path, fileText(kept));
    },
  };
  const { shards } = options;
  if (!shards || shards.length === 0) return store;
  const loaded = shards.map((file) => {
    const found = existsSync(file) ? entriesOf(file) : 'is not there';
    if (typeof found === 'string')
      throw dataError(`calibration shard "${file}" ${found}: expected a file that --calibration-cache wrote`, { place: { file } });
    return { file, found };
  });
  return {
    ...store,
    async shards(about) {
      return loaded.map(({ file, found }) => {
        const key = Object.keys(found).findLast((k) => k.startsWith(`${about}.`));
        if (key !== undefined) return found[key];
        throw dataError(`calibration shard "${file}": expected statistics of this model under these settings, got others`, {
          place: { file },
          hint: 'write each shard with the same model and options, and --no-equalize: equalization changes the model by what the data shows',
        });
      });
    },
  };
}

const unspoilt = (found: Entries | string): Entries => (typeof found === 'string' ? {} : found);

const fileText = (entries: Entries) => `${JSON.stringify({ kind: KIND, version: 1, entries })}\n`;

/** Entries of a file, or what is wrong with it. */
function entriesOf(file: string): Entries | string {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return 'is damaged';
  }
  const { kind, entries } = (json ?? {}) as { kind?: unknown; entries?: unknown };
  if (kind !== KIND || typeof entries !== 'object' || entries === null) return 'is no calibration cache';
  return entries as Entries;
}
