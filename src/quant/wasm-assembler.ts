// Just enough of the WebAssembly binary format to write small SIMD kernels by hand: one memory, functions over i32 parameters, v128 locals.
// Opcodes from the WebAssembly 2.0 specification. Each function below answers the bytes of one instruction or construct.

export type Code = readonly number[];

/** LEB128 of an unsigned number. */
function leb(value: number): number[] {
  const out: number[] = [];
  let rest = value >>> 0;
  do {
    const byte = rest & 127;
    rest >>>= 7;
    out.push(rest ? byte | 128 : byte);
  } while (rest);
  return out;
}

/** LEB128 of a signed number. */
function sleb(value: number): number[] {
  const out: number[] = [];
  let rest = value | 0;
  for (;;) {
    const byte = rest & 127;
    rest >>= 7;
    if ((rest === 0 && !(byte & 64)) || (rest === -1 && byte & 64)) return [...out, byte];
    out.push(byte | 128);
  }
}

const simd = (opcode: number, ...immediates: number[]): Code => [0xfd, ...leb(opcode), ...immediates];

export const get = (local: number): Code => [0x20, ...leb(local)];
export const set = (local: number): Code => [0x21, ...leb(local)];
export const i32 = (value: number): Code => [0x41, ...sleb(value)];
export const i32add: Code = [0x6a];
export const i32mul: Code = [0x6c];
export const i32shl: Code = [0x74];
export const i32ltU: Code = [0x49];

/** Four copies of a float32. */
export function f32x4(value: number): Code {
  const bytes = new Uint8Array(Float32Array.of(value, value, value, value).buffer);
  return simd(12, ...bytes);
}

/** Four copies of a 32-bit integer. */
export function i32x4(value: number): Code {
  const bytes = new Uint8Array(Int32Array.of(value, value, value, value).buffer);
  return simd(12, ...bytes);
}

export const load = (offset = 0): Code => simd(0, 2, ...leb(offset));
/** Four copies of one float of memory. */
export const loadSplat = (offset = 0): Code => simd(9, 2, ...leb(offset));
export const store = (offset = 0): Code => simd(11, 2, ...leb(offset));
/** Stores one 32-bit lane. */
export const storeLane = (lane: number, offset = 0): Code => simd(0x5a, 2, ...leb(offset), lane);
/** 32-bit lanes of two vectors (0-3 of the first, 4-7 of the second). */
export const shuffle32 = (...lanes: readonly number[]): Code => simd(13, ...lanes.flatMap((l) => [0, 1, 2, 3].map((b) => l * 4 + b)));
export const bitselect = simd(0x52);
export const v128and = simd(0x4e);
/** The first operand where the bits of the second are clear. */
export const v128andnot = simd(0x4f);
export const v128or = simd(0x50);
export const v128xor = simd(0x51);
export const i32x4ltS = simd(0x39);
export const i32x4gtS = simd(0x3b);
export const i32x4shrU = simd(0xad);
export const i32x4add = simd(0xae);
export const i32x4sub = simd(0xb1);
/** Two vectors of 32-bit numbers to one of 16-bit ones, saturated to 0..65535. */
export const i16x8narrowU = simd(0x86);
export const f32x4lt = simd(0x43);
export const f32x4gt = simd(0x44);
export const f32x4ge = simd(0x46);
export const f32x4abs = simd(0xe0);
export const f32x4neg = simd(0xe1);
export const f32x4sqrt = simd(0xe3);
export const f32x4add = simd(0xe4);
export const f32x4sub = simd(0xe5);
export const f32x4mul = simd(0xe6);
export const f32x4div = simd(0xe7);
export const f32x4min = simd(0xe8);
export const f32x4max = simd(0xe9);
/** b < a ? b : a, and so on: keep the first operand where the second is no number. */
export const f32x4pmin = simd(0xea);
export const f32x4pmax = simd(0xeb);
/** The first two lanes as doubles. */
export const f64x2promoteLow = simd(0x5f);
export const f64x2add = simd(0xf0);
export const f64x2mul = simd(0xf2);
export const f32x4nearest = simd(0x6a);
export const i32x4fromF32 = simd(0xf9);
export const i32x4shl = simd(0xab);

/** `for (local = 0; local < end; local += step) body`, the body run at least once. */
export function loop(local: number, end: Code, step: number, body: Code): Code {
  return [
    ...i32(0),
    ...set(local),
    0x03,
    0x40,
    ...body,
    ...get(local),
    ...i32(step),
    ...i32add,
    ...set(local),
    ...get(local),
    ...end,
    ...i32ltU,
    0x0d,
    0,
    0x0b,
  ];
}

export interface WasmFunction {
  readonly name: string;
  /** Number of i32 parameters; they are locals 0, 1, ... */
  readonly parameters: number;
  /** Further locals: i32 ones first, then v128 ones. */
  readonly i32Locals: number;
  readonly v128Locals: number;
  readonly body: Code;
}

const section = (id: number, content: Code): Code => [id, ...leb(content.length), ...content];
const vector = (items: readonly Code[]): Code => [...leb(items.length), ...items.flat()];
const text = (value: string): Code => [...leb(value.length), ...[...value].map((c) => c.charCodeAt(0))];

/** A module that imports memory `m.m` and exports the functions. */
export function assemble(functions: readonly WasmFunction[]): Uint8Array<ArrayBuffer> {
  const types = functions.map((f): Code => [0x60, ...vector(Array.from({ length: f.parameters }, () => [0x7f])), 0]);
  const bodies = functions.map((f): Code => {
    const locals = vector([
      [...leb(f.i32Locals), 0x7f],
      [...leb(f.v128Locals), 0x7b],
    ]);
    const code = [...locals, ...f.body, 0x0b];
    return [...leb(code.length), ...code];
  });
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector(types)),
    ...section(2, vector([[...text('m'), ...text('m'), 2, 0, 1]])),
    ...section(3, vector(functions.map((_, i) => leb(i)))),
    ...section(7, vector(functions.map((f, i) => [...text(f.name), 0, ...leb(i)]))),
    ...section(10, vector(bodies)),
  ]);
}
