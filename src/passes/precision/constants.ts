// What a 16-bit float type does to the numbers of a constant.
import type { Tensor } from '../../ir/tensor.js';
import type { HalfType } from './half-types.js';

/** Constants up to this size are parameters such as epsilons and masks, where one number lost matters. */
const SMALL = 64;

export interface ConstantProblem {
  readonly text: string;
  /** True where readers must stay float. */
  readonly serious: boolean;
}

/** Finite numbers beyond the range, and in small constants numbers that would become 0. */
export function constantProblem(tensor: Tensor, type: HalfType): ConstantProblem | undefined {
  const largest = largestIn(tensor);
  if (largest > type.max) return { text: `reaches ${largest.toPrecision(3)}, and ${type.dtype} ends at ${type.max}`, serious: true };
  if (tensor.size > SMALL) return undefined;
  const data = tensor.floats();
  const lost = data.find((v) => v !== 0 && Math.abs(v) <= type.flush);
  return lost === undefined ? undefined : { text: `holds ${lost.toPrecision(3)}, which is 0 in ${type.dtype}`, serious: true };
}

/** Floats looked at in one go: reading pieces into one buffer is cheaper than a buffer for each tensor. */
const STRIP = 1 << 18;
let strip: Uint8Array | undefined;

/** Largest finite magnitude of a tensor; one on disk is read in strips. */
function largestIn(tensor: Tensor): number {
  const { source } = tensor;
  if (tensor.dtype !== 'float' || source.resident || !source.synchronous) return largestMagnitude(tensor.floats());
  strip ??= new Uint8Array(STRIP * 4);
  let largest = 0;
  for (let from = 0; from < source.byteLength; from += strip.length) {
    const part = source.slice(from, Math.min(source.byteLength, from + strip.length));
    const bytes = strip.subarray(0, part.byteLength);
    if (part.readInto) part.readInto(bytes);
    else bytes.set(part.bytes());
    largest = Math.max(largest, largestMagnitude(new Float32Array(bytes.buffer, 0, part.byteLength / 4)));
  }
  return largest;
}

/** Largest finite magnitude. Compared as bits, which order as magnitudes do. */
function largestMagnitude(data: Float32Array): number {
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  let largest = 0;
  for (let i = 0; i < bits.length; i++) {
    const magnitude = bits[i]! & 0x7fffffff;
    if (magnitude > largest && magnitude < 0x7f800000) largest = magnitude;
  }
  return new Float32Array(Uint32Array.of(largest).buffer)[0]!;
}
