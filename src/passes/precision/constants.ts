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
  const data = tensor.floats();
  const largest = largestMagnitude(data);
  if (largest > type.max) return { text: `reaches ${largest.toPrecision(3)}, and ${type.dtype} ends at ${type.max}`, serious: true };
  if (data.length > SMALL) return undefined;
  const lost = data.find((v) => v !== 0 && Math.abs(v) <= type.flush);
  return lost === undefined ? undefined : { text: `holds ${lost.toPrecision(3)}, which is 0 in ${type.dtype}`, serious: true };
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
