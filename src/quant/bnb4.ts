// Four-bit floats by blocks, as com.microsoft.MatMulBnb4 reads them: each weight becomes the nearest of sixteen levels times the largest magnitude
// of its block. NF4: quantiles of a normal distribution (Dettmers et al. 2023, QLoRA). FP4: one sign, two exponent bits, one mantissa bit.
// Layout: the matrix [n, k] in one run, blocks of it in order (they may cross rows), two codes to a byte, the first in the high bits.

export type FourBitFloat = 'nf4' | 'fp4';

/** Attribute `quant_type` of MatMulBnb4. */
export const QUANT_TYPE: Readonly<Record<FourBitFloat, number>> = { fp4: 0, nf4: 1 };

/** Level of each code. */
const LEVELS: Readonly<Record<FourBitFloat, readonly number[]>> = {
  nf4: [
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1,
  ],
  fp4: [0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4, -0, -1 / 192, -2 / 3, -1, -1 / 3, -1 / 2, -1 / 6, -1 / 4],
};

interface Ladder {
  /** Codes by ascending level. */
  readonly codes: Uint8Array;
  /** Borders between neighbouring levels: one fewer than codes. */
  readonly borders: Float32Array;
}

/** FP4 has two zeros: the negative one is never written. */
function ladderOf(kind: FourBitFloat): Ladder {
  const levels = LEVELS[kind];
  const codes = levels
    .map((_, code) => code)
    .filter((code) => !Object.is(levels[code], -0))
    .sort((a, b) => levels[a]! - levels[b]!);
  const borders = codes.slice(1).map((code, i) => (levels[code]! + levels[codes[i]!]!) / 2);
  return { codes: Uint8Array.from(codes), borders: Float32Array.from(borders) };
}

const LADDERS: Readonly<Record<FourBitFloat, Ladder>> = { nf4: ladderOf('nf4'), fp4: ladderOf('fp4') };

export interface PackedFloats {
  /** [ceil(elements / 2)] */
  readonly codes: Uint8Array;
  /** Largest magnitude of each block: [ceil(elements / block)]. */
  readonly largest: Float32Array;
}

/** Packs a run of weights. `block` is even. */
export function packFourBitFloats(data: Float32Array, block: number, kind: FourBitFloat): PackedFloats {
  const { codes: byRank, borders } = LADDERS[kind];
  const codes = new Uint8Array((data.length + 1) >> 1);
  const largest = new Float32Array(Math.ceil(data.length / block));
  const rankOf = (x: number): number => {
    let low = 0;
    let high = borders.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (x > borders[middle]!) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  for (let b = 0; b < largest.length; b++) {
    const end = Math.min(data.length, (b + 1) * block);
    let max = 0;
    for (let i = b * block; i < end; i++) max = Math.max(max, Math.abs(data[i]!));
    largest[b] = max;
    const inverse = max > 0 ? Math.fround(1 / max) : 0;
    for (let i = b * block; i < end; i++) {
      const code = byRank[rankOf(Math.fround(data[i]! * inverse))]!;
      const at = i >> 1;
      codes[at] = codes[at]! | (i % 2 === 0 ? code << 4 : code);
    }
  }
  // An odd run ends with a code of zero.
  if (data.length % 2 === 1) codes[codes.length - 1] = codes.at(-1)! | byRank[rankOf(0)]!;
  return { codes, largest };
}

/** The weights back: level times the largest magnitude of the block. */
export function unpackFourBitFloats(packed: PackedFloats, length: number, block: number, kind: FourBitFloat): Float32Array {
  const levels = LEVELS[kind];
  return Float32Array.from({ length }, (_, i) => {
    const byte = packed.codes[i >> 1]!;
    return levels[i % 2 === 0 ? byte >> 4 : byte & 15]! * packed.largest[Math.floor(i / block)]!;
  });
}
