// float32 to float16 or bfloat16 in WebAssembly SIMD, to the bit as util/half.ts does it (round half to even, NaN stays NaN), several times as fast.
// After Fabian Giesen, "Float->half variants" (2012): normal numbers by integer arithmetic, subnormal ones by adding a float whose ulp is theirs.
import { type ByteSource, MemorySource } from '../ir/source.js';
import { Tensor } from '../ir/tensor.js';
import {
  assemble,
  bitselect,
  type Code,
  f32x4add,
  get,
  i16x8narrowU,
  i32,
  i32add,
  i32x4,
  i32x4add,
  i32x4gtS,
  i32x4ltS,
  i32x4shrU,
  i32x4sub,
  load,
  loop,
  set,
  store,
  v128and,
  v128or,
  v128xor,
  type WasmFunction,
} from './wasm-assembler.js';

interface Converters {
  readonly memory: WebAssembly.Memory;
  /** `bytes` bytes of float32 at 0 become 16-bit floats at `dst`; bytes is a positive multiple of 32. */
  float16(bytes: number, dst: number): void;
  bfloat16(bytes: number, dst: number): void;
}

/** Floats converted at a time: source and result stay in the cache. */
const STRIP = 1 << 16;

const [bytes, dst, at, to] = [0, 1, 2, 3];
const [v, a, r, first] = [4, 5, 6, 7];
const shr = (local: number, by: number): Code => [...get(local), ...i32(by), ...i32x4shrU];

/** Lanes of `v` to float16 bits in `r`. */
function float16Lanes(): Code {
  return [
    ...[...get(v!), ...i32x4(0x7fffffff), ...v128and, ...set(a!)],
    // Below the smallest normal half: the sum with 0.5 has the half's subnormal as its last bits.
    ...[...get(a!), ...i32x4(0x3f000000), ...f32x4add, ...i32x4(0x3f000000), ...i32x4sub],
    // Normal: another exponent bias, and rounding by adding just under half a unit, or half where the kept part is odd.
    ...[
      ...get(a!),
      ...i32x4(((15 - 127) << 23) + 0xfff),
      ...i32x4add,
      ...shr(a!, 13),
      ...i32x4(1),
      ...v128and,
      ...i32x4add,
      ...i32(13),
      ...i32x4shrU,
    ],
    ...[...get(a!), ...i32x4(113 << 23), ...i32x4ltS, ...bitselect, ...set(r!)],
    // Beyond the range: infinity, or a NaN with what fits of its payload.
    ...[...i32x4(0x7e00), ...shr(a!, 13), ...i32x4(0x3ff), ...v128and, ...v128or, ...i32x4(0x7c00)],
    ...[...get(a!), ...i32x4(0x7f800000), ...i32x4gtS, ...bitselect, ...get(r!)],
    ...[...get(a!), ...i32x4((143 << 23) - 1), ...i32x4gtS, ...bitselect],
    ...[...get(v!), ...get(a!), ...v128xor, ...i32(16), ...i32x4shrU, ...v128or, ...set(r!)],
  ];
}

/** Lanes of `v` to bfloat16 bits in `r`. */
function bfloat16Lanes(): Code {
  return [
    ...[...get(v!), ...i32x4(0x7fffffff), ...v128and, ...set(a!)],
    ...[...shr(v!, 16), ...i32x4(0x40), ...v128or],
    ...[...get(v!), ...i32x4(0x7fff), ...i32x4add, ...shr(v!, 16), ...i32x4(1), ...v128and, ...i32x4add, ...i32(16), ...i32x4shrU],
    ...[...get(a!), ...i32x4(0x7f800000), ...i32x4gtS, ...bitselect, ...set(r!)],
  ];
}

function converter(name: string, lanes: Code): WasmFunction {
  const body: Code = [
    ...[...get(dst!), ...set(to!)],
    ...loop(at!, get(bytes!), 32, [
      ...[...get(at!), ...load(), ...set(v!), ...lanes, ...get(r!), ...set(first!)],
      ...[...get(at!), ...load(16), ...set(v!), ...lanes],
      ...[...get(to!), ...get(first!), ...get(r!), ...i16x8narrowU, ...store()],
      ...[...get(to!), ...i32(16), ...i32add, ...set(to!)],
    ]),
  ];
  return { name, parameters: 2, i32Locals: 2, v128Locals: 4, body };
}

let loaded: Converters | null | undefined;

function converters(): Converters | null {
  if (loaded !== undefined) return loaded;
  loaded = null;
  if (typeof WebAssembly === 'undefined') return loaded;
  const code = assemble([converter('float16', float16Lanes()), converter('bfloat16', bfloat16Lanes())]);
  if (!WebAssembly.validate(code)) return loaded;
  const memory = new WebAssembly.Memory({ initial: Math.ceil((STRIP * 6) / 65536) });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(code), { m: { m: memory } });
  loaded = { memory, ...(instance.exports as unknown as Omit<Converters, 'memory'>) };
  return loaded;
}

/** A float tensor in a 16-bit type. Where the tensor is on disk nothing is read now: it is converted strip by strip as it is written. */
export function halfTensor(tensor: Tensor, dtype: HalfDType): Tensor {
  const kernels = tensor.dtype === 'float' && tensor.source.synchronous ? converters() : null;
  if (!kernels) return tensor.cast(dtype);
  const source = new HalfSource(tensor.source, dtype, kernels);
  return new Tensor(dtype, tensor.dims, tensor.source.resident ? source.bytes() : source);
}

type HalfDType = 'float16' | 'bfloat16';

/** 16-bit floats over a source of float32, converted when read. */
class HalfSource implements ByteSource {
  readonly #floats: ByteSource;
  readonly #dtype: HalfDType;
  readonly #kernels: Converters;
  readonly resident = false;
  readonly synchronous = true;

  constructor(floats: ByteSource, dtype: HalfDType, kernels: Converters) {
    this.#floats = floats;
    this.#dtype = dtype;
    this.#kernels = kernels;
  }

  get byteLength(): number {
    return this.#floats.byteLength / 2;
  }

  bytes(): Uint8Array {
    const out = new Uint8Array(this.byteLength);
    this.readInto(out);
    return out;
  }

  async load(): Promise<Uint8Array> {
    return this.bytes();
  }

  /** Pieces must start and end between numbers, which are two bytes here. */
  slice(start: number, end: number): ByteSource {
    if (start % 2 !== 0 || end % 2 !== 0) return new MemorySource(this.bytes().subarray(start, end));
    return new HalfSource(this.#floats.slice(start * 2, end * 2), this.#dtype, this.#kernels);
  }

  readInto(target: Uint8Array): void {
    const memory = new Uint8Array(this.#kernels.memory.buffer);
    const size = this.byteLength / 2;
    for (let from = 0; from < size; from += STRIP) {
      const count = Math.min(STRIP, size - from);
      const strip = memory.subarray(0, count * 4);
      const part = this.#floats.slice(from * 4, (from + count) * 4);
      if (part.readInto) part.readInto(strip);
      else strip.set(part.bytes());
      this.#kernels[this.#dtype](Math.ceil(count / 8) * 32, STRIP * 4);
      target.set(memory.subarray(STRIP * 4, STRIP * 4 + count * 2), from * 2);
    }
  }
}
