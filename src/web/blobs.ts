// Models from and to Blobs and Files of the browser: what a file picker gives and a download takes.
import { externalDataError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { BlobSource, type ByteSource } from '../ir/source.js';
import { decodeModelBlob } from '../onnx/decode.js';
import { checkSize, type EncodeOptions, encodeModelChunks } from '../onnx/encode.js';

/**
 * Reads a model. `external` holds the data files by their location relative to the model; weights in them stay views on the Blobs and are read
 * when an engine or an encoder needs them. Throws E_FORMAT, E_GRAPH or E_EXTERNAL_DATA.
 */
export function readModelBlob(file: Blob, external: Readonly<Record<string, Blob>> = {}): Promise<Model> {
  const name = 'name' in file && typeof file.name === 'string' ? file.name : undefined;
  return decodeModelBlob(file, {
    file: name,
    external: (location): ByteSource => {
      const blob = Object.hasOwn(external, location) ? external[location] : undefined;
      if (blob === undefined) {
        throw externalDataError(`external data file "${location}" was not given: got ${Object.keys(external).join(', ') || 'none'}`, {
          hint: 'choose the data files together with the model',
        });
      }
      return new BlobSource(blob);
    },
  });
}

export interface ModelBlobs {
  readonly model: Blob;
  /** Data files by their location relative to the model; empty unless `options.external` was given. */
  readonly external: Readonly<Record<string, Blob>>;
}

/** Encodes a model into Blobs part by part, so that the weights are not copied in JavaScript's memory. Throws E_LIMIT beyond 2 GiB. */
export async function modelBlobs(model: Model, options: EncodeOptions = {}): Promise<ModelBlobs> {
  const { main, externalData } = encodeModelChunks(model, options);
  const external: Record<string, Blob> = {};
  for (const file of externalData) external[file.path] = await joined(file.chunks);
  return { model: await joined(checkSize(main).chunks), external };
}

async function joined(chunks: readonly ByteSource[]): Promise<Blob> {
  const parts: BlobPart[] = [];
  for (const chunk of chunks) {
    const bytes = (await chunk.load()) as Uint8Array<ArrayBuffer>;
    // What had to be read is handed to the browser at once, which may keep it on disk.
    parts.push(chunk.resident ? bytes : new Blob([bytes]));
  }
  return new Blob(parts, { type: 'application/octet-stream' });
}
