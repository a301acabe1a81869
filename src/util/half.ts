// IEEE 754 half precision and bfloat16, converted in bulk with round-to-nearest-even.
// float -> half uses tables over the 9 bits of sign and exponent (J. van der Zijp, "Fast Half Float Conversions", 2008), extended with rounding.

const BASE = new Uint16Array(512);
const SHIFT = new Uint8Array(512);
for (let i = 0; i < 256; i++) {
  const e = i - 127;
  let base: number;
  let shift: number;
  if (e < -25) [base, shift] = [0, 25];
  else if (e < -14) [base, shift] = [0, -e - 1];
  else if (e <= 15) [base, shift] = [(e + 14) << 10, 13];
  else if (e < 128) [base, shift] = [0x7c00, 25];
  else [base, shift] = [0x7c00, 13];
  BASE[i] = base;
  BASE[i | 256] = base | 0x8000;
  SHIFT[i] = shift;
  SHIFT[i | 256] = shift;
}

/** Bits of float32 values (as uint32) to bits of half, into `out`. Overflow becomes infinity, NaN stays NaN. */
export function halfBitsFromFloatBits(bits: Uint32Array, out: Uint16Array): void {
  for (let i = 0; i < bits.length; i++) {
    const f = bits[i]!;
    const index = f >>> 23;
    const shift = SHIFT[index]!;
    const exponent = index & 255;
    if (exponent === 255) {
      // Keep a NaN a NaN even where its payload sits only in the bits cut off.
      const mantissa = f & 0x7fffff;
      out[i] = BASE[index]! | (mantissa === 0 ? 0 : 0x200 | (mantissa >>> 13));
      continue;
    }
    if (shift === 25) {
      out[i] = BASE[index]!;
      continue;
    }
    // The implicit leading one is part of the mantissa: BASE of normal numbers is one exponent lower to make up for it.
    const mantissa = (f & 0x7fffff) | 0x800000;
    const kept = mantissa >>> shift;
    const rest = mantissa & ((1 << shift) - 1);
    const halfway = 1 << (shift - 1);
    const roundUp = rest > halfway || (rest === halfway && (kept & 1) === 1) ? 1 : 0;
    out[i] = BASE[index]! + kept + roundUp;
  }
}

const HALF_TO_FLOAT = new Float32Array(65536);
let halfTableReady = false;

function fillHalfTable(): void {
  for (let h = 0; h < 65536; h++) {
    const sign = h & 0x8000 ? -1 : 1;
    const exponent = (h >> 10) & 31;
    const fraction = h & 1023;
    HALF_TO_FLOAT[h] =
      exponent === 0
        ? sign * fraction * 2 ** -24
        : exponent === 31
          ? fraction === 0
            ? sign * Number.POSITIVE_INFINITY
            : Number.NaN
          : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  halfTableReady = true;
}

/** Bits of half values to float32 values, into `out`. Exact. */
export function floatsFromHalfBits(bits: Uint16Array, out: Float32Array): void {
  if (!halfTableReady) fillHalfTable();
  for (let i = 0; i < bits.length; i++) out[i] = HALF_TO_FLOAT[bits[i]!]!;
}

/** Bits of float32 values (as uint32) to bits of bfloat16, round to nearest even; NaN stays NaN. */
export function bfloatBitsFromFloatBits(bits: Uint32Array, out: Uint16Array): void {
  for (let i = 0; i < bits.length; i++) {
    const f = bits[i]!;
    if ((f & 0x7fffffff) > 0x7f800000) out[i] = (f >>> 16) | 0x40;
    else out[i] = (f + 0x7fff + ((f >>> 16) & 1)) >>> 16;
  }
}

/** Bits of bfloat16 to float32 values, into `out` (viewed as uint32). Exact. */
export function floatBitsFromBfloatBits(bits: Uint16Array, out: Uint32Array): void {
  for (let i = 0; i < bits.length; i++) out[i] = bits[i]! << 16;
}
