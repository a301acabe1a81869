// Models and data that are not part of the repository. Tests that need them skip, with a line saying so, where the folder is absent.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = process.env.PARE_DATA ?? resolve(import.meta.dirname, '../../shared/data');
let warned = false;

/** Path of a shared file or folder, or undefined where it is absent. */
export function sharedData(path: string): string | undefined {
  const full = join(ROOT, path);
  if (existsSync(full)) return full;
  if (!warned) {
    warned = true;
    process.stderr.write(`tests that need shared data are skipped: "${full}" is absent (set PARE_DATA to the folder)\n`);
  }
  return undefined;
}

/** Every shared model, as paths relative to the folder; empty where it is absent. */
export function sharedModels(): string[] {
  if (sharedData('.') === undefined) return [];
  return readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.onnx') && statSync(join(ROOT, name)).isFile())
    .sort();
}
