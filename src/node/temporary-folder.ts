// A folder of one's own under the system's folder for temporary files, removed with the process if not before.
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemError } from './system-error.js';
import { dropTemporary, temporaryName } from './temporary-files.js';

export interface TemporaryFolder {
  readonly path: string;
  remove(): Promise<void>;
}

/** Makes a folder that only this user can read. `purpose` is part of its name. */
export async function temporaryFolder(purpose: string): Promise<TemporaryFolder> {
  const path = temporaryName(join(tmpdir(), `pare-${purpose}-${randomUUID()}`));
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    dropTemporary(path);
    throw systemError(error, 'write', path);
  }
  return { path, remove: async () => dropTemporary(path) };
}
