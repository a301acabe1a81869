// Quantized forms of constants, computed when the result is written if the constant is still on disk.

import { byteLengthOf, DTYPES } from '../ir/dtype.js';
import type { Tensor } from '../ir/tensor.js';
import { layoutOf } from './layout.js';
import { derivedTensors } from './lazy.js';
import { isSignedType, type Scheme } from './scheme.js';
import { quantizeTensor } from './tensor.js';

/** Codes, scales and (where the scheme has any) zero points of a constant, with endings for their names. */
export function derivedQuantized(tensor: Tensor, scheme: Scheme): (readonly [suffix: string, tensor: Tensor])[] {
  const { scaleDims, count } = layoutOf(tensor.dims, scheme.granularity);
  const zeros = scheme.symmetry === 'asymmetric' || !isSignedType(scheme.dtype);
  const types = [
    { dtype: scheme.dtype, dims: tensor.dims, byteLength: byteLengthOf(scheme.dtype, tensor.size) },
    { dtype: 'float' as const, dims: scaleDims, byteLength: (count * DTYPES.float.bits) / 8 },
    ...(zeros ? [{ dtype: scheme.dtype, dims: scaleDims, byteLength: byteLengthOf(scheme.dtype, count) }] : []),
  ];
  const names = ['quantized', 'scale', 'zero_point'];
  const made = derivedTensors(tensor, types, (source) => {
    const q = quantizeTensor(source, scheme);
    const parts = [q.data.bytes(), q.scale.bytes()];
    if (zeros) parts.push(q.zeroPoint?.bytes() ?? new Uint8Array(byteLengthOf(scheme.dtype, count)));
    return parts;
  });
  return made.map((t, i) => [names[i]!, t] as const);
}
