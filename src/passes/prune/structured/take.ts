// Slices of constants: the elements of a tensor at some positions along one axis.
import { DTYPES } from '../../../ir/dtype.js';
import { Tensor, type TypedArray } from '../../../ir/tensor.js';

/** The tensor with only `positions` (ascending) along `axis`. */
export function takePositions(tensor: Tensor, axis: number, positions: ArrayLike<number>): Tensor {
  const extent = tensor.dims[axis]!;
  if (positions.length === extent) return tensor;
  const dims = tensor.dims.with(axis, positions.length);
  const inner = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const outer = tensor.dims.slice(0, axis).reduce((a, b) => a * b, 1);
  if (tensor.dtype === 'string') {
    const from = tensor.stringBytes();
    const out: Uint8Array[] = [];
    forEachRow(outer, extent, inner, positions, (start) => out.push(...from.slice(start, start + inner)));
    return Tensor.strings(dims, out);
  }
  if (DTYPES[tensor.dtype].bits < 8) {
    const from = tensor.numbers();
    const out: number[] = [];
    forEachRow(outer, extent, inner, positions, (start) => {
      for (let i = 0; i < inner; i++) out.push(from[start + i]!);
    });
    return Tensor.from(tensor.dtype, dims, out);
  }
  const perElement = DTYPES[tensor.dtype].kind === 'complex' ? 2 : 1;
  const width = inner * perElement;
  const from = tensor.view();
  const out = new (from.constructor as new (length: number) => TypedArray)(outer * positions.length * width) as Float32Array;
  let at = 0;
  forEachRow(outer, extent, inner, positions, (start) => {
    if (width === 1) out[at] = (from as Float32Array)[start]!;
    else out.set((from as Float32Array).subarray(start * perElement, start * perElement + width), at);
    at += width;
  });
  return Tensor.of(tensor.dtype, dims, out);
}

function forEachRow(outer: number, extent: number, inner: number, positions: ArrayLike<number>, visit: (start: number) => void): void {
  for (let o = 0; o < outer; o++) for (let p = 0; p < positions.length; p++) visit((o * extent + positions[p]!) * inner);
}
