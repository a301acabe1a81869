// Checkpoints of a training in one file that is always whole: written beside it, flushed, then renamed over it.
import { readFile } from 'node:fs/promises';
import type { CheckpointStore } from '../train/checkpoint.js';
import { writeFileAtomic } from './files.js';
import { systemError } from './system-error.js';

/** Keeps the last checkpoint at `path`. */
export function checkpointFile(path: string): CheckpointStore {
  return {
    async save(bytes) {
      try {
        await writeFileAtomic(path, bytes);
      } catch {
        // A signal that arrives meanwhile removes temporary files; the program may go on to write its last state.
        await writeFileAtomic(path, bytes);
      }
    },
    async load() {
      try {
        return await readFile(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw systemError(error, 'read', path);
      }
    },
  };
}
