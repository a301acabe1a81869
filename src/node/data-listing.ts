// Files of a data folder or archive as one list: name, class folder and a way to read each. Classes are the first-level folders.
import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gunzip } from '../data/gzip.js';
import { readTar } from '../data/tar.js';
import { openZip } from '../data/zip.js';
import { dataError } from '../errors.js';
import { FileSource } from './file-source.js';
import { systemError } from './system-error.js';

export interface ListedFile {
  /** Path inside the folder or archive, with slashes. */
  readonly path: string;
  read(): Promise<Uint8Array>;
}

export interface Listing {
  readonly name: string;
  readonly files: readonly ListedFile[];
  /** First-level folders, also those without files, sorted. */
  readonly folders: readonly string[];
}

const MAX_DEPTH = 8;

/** Reads a file whole. Throws E_FILE. */
export function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw systemError(error, 'read', path);
  }
}

/** Everything under a folder, links followed once. Hidden files are left out. */
export function listFolder(root: string): Listing {
  const files: ListedFile[] = [];
  const folders: string[] = [];
  const seen = new Set<string>();
  const walk = (folder: string, prefix: string, depth: number) => {
    const real = realpathSync(folder);
    if (seen.has(real) || depth > MAX_DEPTH) return;
    seen.add(real);
    for (const name of readdirSync(folder).sort()) {
      if (name.startsWith('.')) continue;
      const path = join(folder, name);
      const stat = statSync(path, { throwIfNoEntry: false });
      if (stat?.isDirectory()) {
        if (prefix === '') folders.push(name);
        walk(path, `${prefix}${name}/`, depth + 1);
      } else if (stat?.isFile()) files.push({ path: prefix + name, read: async () => readBytes(path) });
    }
  };
  try {
    walk(root, '', 0);
  } catch (error) {
    throw systemError(error, 'read', root);
  }
  return { name: root, files, folders };
}

/** Files of a zip; each is read when asked for. */
export async function listZip(path: string): Promise<Listing> {
  const zip = await openZip(FileSource.open(path), path);
  const entries = zip.entries.map((entry) => ({ path: entry.name, read: async () => (await zip.read(entry)).load() }));
  return archiveListing(path, entries);
}

/** Files of a tar, plain or gzipped, which is held in memory. */
export function listTar(path: string): Listing {
  const entries = readTar(gunzip(readBytes(path), path), path).map(({ name, data }) => ({ path: name, read: async () => data }));
  return archiveListing(path, entries);
}

/** Archives are often packed with one folder around everything: it is no class, so it goes where classes are below it or it has the archive's name. */
function archiveListing(path: string, entries: readonly ListedFile[]): Listing {
  const visible = entries.filter((f) => !f.path.split('/').some((part) => part.startsWith('.') || part === '__MACOSX'));
  const top = visible[0]?.path.split('/')[0];
  const shared = visible.length > 0 && visible.every((f) => f.path.startsWith(`${top}/`));
  const deep = visible.every((f) => f.path.split('/').length > 2);
  const own = basename(path).replace(/\.(zip|tar|tar\.gz|tgz)$/i, '') === top;
  const cut = shared && (deep || own) ? top!.length + 1 : 0;
  const files = visible
    .map((f) => ({ path: f.path.slice(cut), read: f.read }))
    .sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  const folders = [...new Set(files.filter((f) => f.path.includes('/')).map((f) => f.path.split('/')[0]!))].sort();
  return { name: path, files, folders };
}

export interface Classified {
  readonly labels: readonly number[] | undefined;
  readonly classes: readonly string[] | undefined;
  readonly notes: readonly string[];
}

/**
 * Labels from the first-level folders: their sorted order, or their own numbers where all are whole numbers, or the place in `names` where that is
 * given. Undefined for a flat folder. Throws E_DATA where only some files lie in folders.
 */
export function classify(listing: Listing, files: readonly ListedFile[], names?: readonly string[]): Classified {
  const loose = files.filter((f) => !f.path.includes('/'));
  if (loose.length === files.length) return { labels: undefined, classes: undefined, notes: [] };
  if (loose.length > 0)
    throw dataError(
      `"${listing.name}": expected all files in class folders or none, got ${loose.length} outside, such as "${loose[0]!.path}"`,
    );
  const folders = listing.folders;
  const folderOf = (f: ListedFile) => f.path.split('/')[0]!;
  const numbered = names === undefined && folders.every((f) => /^\d{1,6}$/.test(f));
  const classes = names ?? (numbered ? numberedClasses(folders) : folders);
  const index = new Map(numbered ? folders.map((f) => [f, Number(f)] as const) : classes.map((c, i) => [c, i] as const));
  const unknown = folders.find((f) => !index.has(f));
  if (unknown !== undefined)
    throw dataError(`"${listing.name}": expected folders named like the ${classes.length} classes given, got "${unknown}"`);
  const used = new Set(files.map(folderOf));
  const empty = folders.filter((f) => !used.has(f));
  return {
    labels: files.map((f) => index.get(folderOf(f))!),
    classes,
    notes: empty.length > 0 ? [`class folders without files: ${empty.slice(0, 5).join(', ')}${empty.length > 5 ? ', ...' : ''}`] : [],
  };
}

function numberedClasses(folders: readonly string[]): string[] {
  return Array.from({ length: Math.max(...folders.map(Number)) + 1 }, (_, i) => String(i));
}
