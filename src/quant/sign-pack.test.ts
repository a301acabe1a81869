import { expect, test } from 'vitest';
import { packSigns, signTable } from './sign-pack.js';

test('signs in bits, the mean magnitude of each block as scale, in both orientations', () => {
  const rows = Float32Array.of(1, -2, 3, -4, 5, -6, 7, -8, 1, 1, 1, 1, -1, -1, -1, -1);
  const packed = packSigns(rows, { k: 8, n: 2, transposed: true }, 8);
  expect([...packed.bits]).toEqual([0b01010101, 0b00001111]);
  expect([...packed.scales]).toEqual([4.5, 1]);
  const columns = new Float32Array(16);
  for (let k = 0; k < 8; k++) for (let n = 0; n < 2; n++) columns[k * 2 + n] = rows[n * 8 + k]!;
  expect(packSigns(columns, { k: 8, n: 2, transposed: false }, 8)).toEqual(packed);
});

test('a short last block counts only what is there', () => {
  const packed = packSigns(Float32Array.of(2, -2, 2), { k: 3, n: 1, transposed: true }, 8);
  expect([...packed.bits]).toEqual([0b101]);
  expect([...packed.scales]).toEqual([2]);
});

test('the table spells a byte of signs as 2-bit codes around 2', () => {
  const table = signTable();
  const byte = 0b10010110;
  for (let i = 0; i < 8; i++) {
    const code = (table[byte * 2 + (i >> 2)]! >> ((i & 3) * 2)) & 3;
    expect(code - 2).toBe((byte >> i) & 1 ? 1 : -1);
  }
});
