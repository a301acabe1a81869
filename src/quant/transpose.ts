// Transposing stored matrices in tiles that fit the cache.

const TILE = 32;

/** `count` matrices [rows, columns] to [columns, rows]. */
export function transposeMatrices(data: Int8Array, count: number, rows: number, columns: number): Int8Array {
  const out = new Int8Array(data.length);
  const size = rows * columns;
  for (let m = 0, base = 0; m < count; m++, base += size) {
    for (let r0 = 0; r0 < rows; r0 += TILE) {
      const r1 = Math.min(rows, r0 + TILE);
      for (let c0 = 0; c0 < columns; c0 += TILE) {
        const c1 = Math.min(columns, c0 + TILE);
        for (let r = r0; r < r1; r++) for (let c = c0; c < c1; c++) out[base + c * rows + r] = data[base + r * columns + c]!;
      }
    }
  }
  return out;
}
