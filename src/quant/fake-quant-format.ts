// The grids that weights and activations are trained on, by short names: w8a8, w4a8, w2a8, ternary-a8, w3, w2, ternary, binary. A weight takes one of the
// values (c + offset) * scale for whole c from `lo` to `hi`; activations are those of QuantizeLinear. Without activation bits only weights are rounded.
import { usageError } from '../errors.js';

/** Values of a weight: (c + offset) * scale, lo <= c <= hi. */
export interface WeightLevels {
  readonly name: string;
  readonly lo: number;
  readonly hi: number;
  /** 0, or 0.5 where zero is no level (binary weights). */
  readonly offset: 0 | 0.5;
  /** Bits of a code in the file. */
  readonly bits: 2 | 3 | 4 | 8;
}

/** ONNX Runtime 1.30 computes wrongly on activations of 4 bits. */
export type ActivationBits = 8 | 16;

export interface FakeQuantFormat {
  readonly name: string;
  readonly weights: WeightLevels;
  /** Null: activations stay float. */
  readonly activations: ActivationBits | null;
}

const WEIGHTS: Readonly<Record<string, WeightLevels>> = {
  // -128 is left out, so that a weight and its negative are rounded alike.
  w8: { name: 'w8', lo: -127, hi: 127, offset: 0, bits: 8 },
  w4: { name: 'w4', lo: -8, hi: 7, offset: 0, bits: 4 },
  w3: { name: 'w3', lo: -4, hi: 3, offset: 0, bits: 3 },
  w2: { name: 'w2', lo: -2, hi: 1, offset: 0, bits: 2 },
  ternary: { name: 'ternary', lo: -1, hi: 1, offset: 0, bits: 2 },
  binary: { name: 'binary', lo: -1, hi: 0, offset: 0.5, bits: 2 },
};

export const WEIGHT_FORMATS: readonly string[] = Object.keys(WEIGHTS);
const ACTIVATIONS: readonly ActivationBits[] = [8, 16];

/** Reads `w4a8`, `ternary-a8`, `w2`. Throws E_USAGE for others. */
export function fakeQuantFormat(text: string): FakeQuantFormat {
  const match = /^(w\d|ternary|binary)(?:-?a(\d+))?$/.exec(text);
  const weights = match ? WEIGHTS[match[1]!] : undefined;
  const bits = match?.[2] === undefined ? null : (Number(match[2]) as ActivationBits);
  if (!weights || (bits !== null && !ACTIVATIONS.includes(bits))) {
    throw usageError(
      `quantization-aware training: expected ${WEIGHT_FORMATS.join(', ')}, with a${ACTIVATIONS.join(', a')} behind it where activations are rounded too (w4a8, ternary-a8), got "${text}"`,
    );
  }
  return { name: text, weights, activations: bits };
}
