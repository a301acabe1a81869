// Results of forward passes by what they depend on: the model as it was run, the samples, and what was measured. The key is a hash of all three, so a
// result that does not belong is never found. A second run with the same model, data and settings runs no forward pass.
import type { Dataset } from '../data/dataset.js';
import { type MeasurementStore, measurementsOf } from '../data/measured.js';
import type { Model } from '../ir/model.js';
import { encodeModelChunks } from '../onnx/encode.js';

/** Goes into every key: results of earlier formats are not found. */
const FORMAT = 1;
const CHUNK = 1 << 20;
const SAMPLES_PER_READ = 8;

/** SHA-256 over pieces in order, for streams: each block's hash is hashed with that of the blocks before. */
class Digest {
  #state: Uint8Array<ArrayBuffer> = new Uint8Array(32);
  readonly #buffer = new Uint8Array(CHUNK);
  #filled = 0;

  async add(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const n = Math.min(bytes.length - at, CHUNK - this.#filled);
      this.#buffer.set(bytes.subarray(at, at + n), this.#filled);
      this.#filled += n;
      at += n;
      if (this.#filled === CHUNK) await this.#fold();
    }
  }

  text(text: string): Promise<void> {
    return this.add(new TextEncoder().encode(`${text}\n`));
  }

  async #fold(): Promise<void> {
    const block = new Uint8Array(32 + this.#filled);
    block.set(this.#state);
    block.set(this.#buffer.subarray(0, this.#filled), 32);
    this.#state = new Uint8Array(await crypto.subtle.digest('SHA-256', block));
    this.#filled = 0;
  }

  async hex(): Promise<string> {
    await this.#fold();
    return Array.from(this.#state, (b) => b.toString(16).padStart(2, '0')).join('');
  }
}

/** Hash of samples as the model gets them. */
export async function hashData(data: Dataset, limit?: number): Promise<string> {
  const digest = new Digest();
  for await (const batch of data.batches({ batchSize: SAMPLES_PER_READ, limit })) {
    for (const [name, tensor] of Object.entries(batch.inputs)) {
      await digest.text(`${name} ${tensor.dtype} ${tensor.dims.join()}`);
      if (tensor.dtype === 'string') await digest.text(JSON.stringify(tensor.stringValues()));
      else await digest.add(tensor.bytes());
    }
  }
  return digest.hex();
}

async function hashModel(model: Model, about: unknown): Promise<string> {
  const digest = new Digest();
  await digest.text(`${FORMAT} ${JSON.stringify(about)}`);
  for (const chunk of encodeModelChunks(model).main.chunks) {
    for (let at = 0; at < chunk.byteLength; at += CHUNK) {
      await digest.add(await chunk.slice(at, Math.min(chunk.byteLength, at + CHUNK)).load());
    }
  }
  return digest.hex();
}

/** How results travel as JSON. `from` throws where the JSON is not what `to` writes. */
export interface Codec<T> {
  to(value: T): unknown;
  from(json: unknown): T;
  /** Joins results of shards, where that can be done. */
  merge?(parts: readonly T[]): T;
}

export class MeasurementCache {
  readonly #store: MeasurementStore;
  readonly #data: string;
  /** Measurements that were taken from the store, and all asked for. */
  found = 0;
  asked = 0;

  private constructor(store: MeasurementStore, data: string) {
    this.#store = store;
    this.#data = data;
  }

  /** Undefined where the data set has no store. Reads the data once, for its hash. */
  static async open(data: Dataset, limit?: number): Promise<MeasurementCache | undefined> {
    const store = measurementsOf(data);
    return store && new MeasurementCache(store, await hashData(data, limit));
  }

  /** The result kept for this model and `about` (plain JSON: names, settings), else that of `measure`, which is then kept. */
  async remember<T>(model: Model, about: unknown, codec: Codec<T>, measure: () => Promise<T>): Promise<T> {
    const hash = await hashModel(model, about);
    this.asked++;
    if (codec.merge) {
      const shards = (await this.#store.shards?.(hash))?.flatMap((json) => attempt(() => codec.from(json)) ?? []);
      if (shards && shards.length > 0) {
        this.found++;
        return codec.merge(shards);
      }
    }
    const key = `${hash}.${this.#data}`;
    const kept = await this.#store.get(key);
    const value = kept === undefined ? undefined : attempt(() => codec.from(kept));
    if (value !== undefined) {
      this.found++;
      return value;
    }
    const measured = await measure();
    await this.#store.set(key, codec.to(measured));
    return measured;
  }
}

/** A damaged entry is measured again. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** `measure` where there is no cache. */
export function remembered<T>(
  cache: MeasurementCache | undefined,
  model: Model,
  about: unknown,
  codec: Codec<T>,
  measure: () => Promise<T>,
): Promise<T> {
  return cache ? cache.remember(model, about, codec, measure) : measure();
}

/** Rows of numbers, such as means per channel. */
export const ROWS: Codec<readonly Float64Array[]> = {
  to: (rows) => rows.map((r) => Array.from(r)),
  from: (json) =>
    (json as number[][]).map((row) => {
      if (!Array.isArray(row) || !row.every((v) => typeof v === 'number')) throw new TypeError('expected rows of numbers');
      return Float64Array.from(row);
    }),
};
