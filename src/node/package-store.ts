// A model package as a folder on disk: read from one folder, written to another or to the same one.
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { fileError, usageError } from '../errors.js';
import type { PackageFile, PackageStore } from '../recipe/variants/package.js';
import { FileSource } from './file-source.js';
import { refuseExisting, writeFileAtomic } from './files.js';
import { externalFilesOf, openInput } from './input.js';
import { stageBeside } from './staging.js';
import { systemError } from './system-error.js';

/**
 * Opens a package. `target` may be the folder itself: variants are then added to it. Throws E_FILE where `source` is no folder, or where `target`
 * holds files already and `force` is not given.
 */
export function openPackage(source: string, target: string, options: { readonly force?: boolean | undefined } = {}): PackageStore {
  const from = resolve(source);
  const to = resolve(target);
  if (!statSync(from, { throwIfNoEntry: false })?.isDirectory())
    throw fileError(`"${source}": expected a folder with config.json and onnx/model.onnx`, { place: { file: source } });
  const same = existsSync(to) && realpathSync(to) === realpathSync(from);
  if (!same && to.startsWith(from + sep))
    throw usageError(`the result "${target}" lies inside the package: expected another folder, or the package itself`);
  if (!same && !options.force && existsSync(to) && readdirSync(to).length > 0) {
    throw fileError(`"${target}" is not empty`, { place: { file: target }, hint: 'use --force to replace the files of these names' });
  }
  const inSource = (path: string) => join(from, ...path.split('/'));
  const inTarget = (path: string) => join(to, ...path.split('/'));
  return {
    files: async () => listFiles(from),
    readText: async (path) => readText(inSource(path)),
    openModel: async (path) => {
      const input = await openInput(inSource(path));
      const external = externalFilesOf(input.model, inSource(path)).map((file) =>
        relative(realpathSync(from), realpathSync(file)).split(sep).join('/'),
      );
      return { ...input, external };
    },
    checkTarget: async (path) => {
      if (!options.force) refuseExisting(inTarget(path));
    },
    copy: async (path, target) => {
      if (same && path === target) return;
      await writeFileAtomic(inTarget(target), FileSource.open(inSource(path)));
    },
    writeText: async (path, text) => writeFileAtomic(inTarget(path), text),
    stage: (path, { external, maxFileBytes }) => {
      const place = inTarget(path);
      return stageBeside(place, { external, maxFileBytes, externalName: `${path.slice(path.lastIndexOf('/') + 1)}_data` });
    },
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw systemError(error, 'read', path);
  }
}

/** Every file below the folder but for hidden folders (version control, caches). */
function listFiles(folder: string): PackageFile[] {
  const found: PackageFile[] = [];
  const walk = (path: string) => {
    for (const entry of readdirSync(join(folder, path), { withFileTypes: true })) {
      const inner = path === '' ? entry.name : `${path}/${entry.name}`;
      const stat = statSync(join(folder, inner), { throwIfNoEntry: false });
      if (stat?.isDirectory() && !entry.name.startsWith('.')) walk(inner);
      else if (stat?.isFile()) found.push({ path: inner, bytes: stat.size });
    }
  };
  walk('');
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}
