// Tensors computed when their bytes are asked for. Quantizing a file larger than memory then holds one weight at a time: the encoder asks for the
// parts of a result one after the other, and only small parts are kept.
import type { DType } from '../ir/dtype.js';
import type { ByteSource } from '../ir/source.js';
import { Tensor } from '../ir/tensor.js';

/** Parts below this size are kept once computed. */
const KEEP_BYTES = 1 << 20;

/** Several results of one computation on one source. The computation runs again where a large part is asked for a second time. */
export class LazyParts {
  readonly #source: Tensor;
  readonly #compute: (source: Tensor) => readonly Uint8Array[];
  readonly #kept = new Map<number, Uint8Array>();
  /** Parts of the latest computation that nobody has taken yet. */
  #waiting = new Map<number, Uint8Array>();

  constructor(source: Tensor, compute: (source: Tensor) => readonly Uint8Array[]) {
    this.#source = source;
    this.#compute = compute;
  }

  part(index: number, byteLength: number): ByteSource {
    return new LazySource(this, index, byteLength, this.#source.source.synchronous);
  }

  /** @internal */
  take(index: number): Uint8Array {
    const ready = this.#ready(index);
    if (ready) return ready;
    return this.#store(index, this.#compute(this.#source));
  }

  /** @internal */
  async takeAsync(index: number): Promise<Uint8Array> {
    const ready = this.#ready(index);
    if (ready) return ready;
    return this.#store(index, this.#compute(await this.#loaded()));
  }

  /** The source itself where it can be read in parts, else with its bytes at hand. */
  async #loaded(): Promise<Tensor> {
    return this.#source.source.synchronous ? this.#source : this.#source.load();
  }

  #ready(index: number): Uint8Array | undefined {
    const kept = this.#kept.get(index);
    if (kept) return kept;
    const waiting = this.#waiting.get(index);
    this.#waiting.delete(index);
    return waiting;
  }

  #store(index: number, parts: readonly Uint8Array[]): Uint8Array {
    this.#waiting = new Map();
    parts.forEach((part, i) => {
      if (part.byteLength <= KEEP_BYTES) this.#kept.set(i, part);
      else if (i !== index) this.#waiting.set(i, part);
    });
    return parts[index]!;
  }
}

class LazySource implements ByteSource {
  readonly #parts: LazyParts;
  readonly #index: number;
  readonly byteLength: number;
  readonly resident = false;
  readonly synchronous: boolean;

  constructor(parts: LazyParts, index: number, byteLength: number, synchronous: boolean) {
    this.#parts = parts;
    this.#index = index;
    this.byteLength = byteLength;
    this.synchronous = synchronous;
  }

  bytes(): Uint8Array {
    return this.#parts.take(this.#index);
  }

  load(): Promise<Uint8Array> {
    return this.#parts.takeAsync(this.#index);
  }

  slice(start: number, end: number): ByteSource {
    return new SliceSource(this, start, end);
  }
}

class SliceSource implements ByteSource {
  readonly #whole: ByteSource;
  readonly #start: number;
  readonly byteLength: number;
  readonly resident = false;

  constructor(whole: ByteSource, start: number, end: number) {
    this.#whole = whole;
    this.#start = start;
    this.byteLength = end - start;
  }

  get synchronous(): boolean {
    return this.#whole.synchronous;
  }

  bytes(): Uint8Array {
    return this.#whole.bytes().subarray(this.#start, this.#start + this.byteLength);
  }

  async load(): Promise<Uint8Array> {
    return (await this.#whole.load()).subarray(this.#start, this.#start + this.byteLength);
  }

  slice(start: number, end: number): ByteSource {
    return new SliceSource(this.#whole, this.#start + start, this.#start + end);
  }
}

/** What a computation makes: type and dimensions of each result. */
export interface PartType {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly byteLength: number;
}

/**
 * Tensors made from another tensor's bytes: computed now where those are in memory, else when asked for.
 * `compute` gets the source tensor, readable synchronously, and answers the bytes of each result.
 */
export function derivedTensors(source: Tensor, types: readonly PartType[], compute: (source: Tensor) => readonly Uint8Array[]): Tensor[] {
  if (source.source.resident) {
    const parts = compute(source);
    return types.map((t, i) => new Tensor(t.dtype, t.dims, parts[i]!));
  }
  const lazy = new LazyParts(source, compute);
  return types.map((t, i) => new Tensor(t.dtype, t.dims, lazy.part(i, t.byteLength)));
}
