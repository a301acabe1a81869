// Results wait in a hidden folder beside their target, under their final names (external data is referred to by name), until they are verified.
import { mkdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { PareError } from '../errors.js';
import type { Stage } from '../recipe/staging.js';
import { readModel, sha256File, type WriteOptions, writeModel } from './files.js';
import { systemError } from './system-error.js';
import { dropTemporary, temporaryName } from './temporary-files.js';

/** Stages models for `target`. Delivering replaces files of the same names; an interrupted or failed run leaves them as they were. */
export function stageBeside(target: string, options: Pick<WriteOptions, 'external' | 'externalName' | 'maxFileBytes'> = {}): Stage {
  return async (model) => {
    const folder = temporaryName(target);
    const discard = async () => dropTemporary(folder);
    try {
      await mkdir(folder, { recursive: true });
    } catch (error) {
      throw systemError(error, 'write', target);
    }
    const staged = join(folder, basename(target));
    try {
      const written = await writeModel(model, staged, { ...options, force: true });
      return {
        paths: { staged, target },
        bytes: written.bytes,
        files: written.files.map((file) => basename(file)),
        sha256: await sha256File(staged),
        source: { path: staged },
        open: () => readModel(staged),
        commit: async () => {
          // External data first: whoever sees the new model must find its data.
          const places = written.files.map((file) => ({ file, place: join(dirname(target), basename(file)) }));
          for (const { file, place } of places.toReversed()) {
            try {
              await rename(file, place);
            } catch (error) {
              throw systemError(error, 'write', place);
            }
          }
          dropTemporary(folder);
          return places.map((p) => p.place);
        },
        discard,
      };
    } catch (error) {
      await discard();
      throw error instanceof PareError ? error.renamed(staged, target) : error;
    }
  };
}
