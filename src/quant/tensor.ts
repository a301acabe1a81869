// Whole tensors through the affine primitive: constants in, quantized constants with scale and zero-point tensors out.
import { dataError } from '../errors.js';
import { Tensor } from '../ir/tensor.js';
import { type AffineParameters, affineParameters, packCodes, quantize, type Ranges, rangesOf } from './affine.js';
import { type Layout, layoutOf } from './layout.js';
import type { QuantType, Scheme } from './scheme.js';

export interface QuantizedTensor {
  readonly data: Tensor;
  readonly scale: Tensor;
  /** Undefined where every zero point is 0 (ONNX then takes the data's type). */
  readonly zeroPoint: Tensor | undefined;
  readonly parameters: AffineParameters;
  readonly layout: Layout;
}

/** Integer codes as a tensor of `dtype`, packed where the type is smaller than a byte. */
export function codesTensor(dtype: QuantType, dims: readonly number[], values: ArrayLike<number>): Tensor {
  return Tensor.from(dtype, dims, values);
}

/**
 * Quantizes a float tensor. `ranges` replaces the tensor's own minima and maxima (clipping); their count must fit the layout.
 * Throws E_DATA where an element is infinite.
 */
export function quantizeTensor(tensor: Tensor, scheme: Scheme, ranges?: Ranges): QuantizedTensor {
  const layout = layoutOf(tensor.dims, scheme.granularity);
  const floats = tensor.floats();
  const used = ranges ?? rangesOf(floats, layout);
  if (!isBounded(used)) throw dataError('its weight holds infinite numbers');
  return quantizeWith(floats, tensor.dims, layout, affineParameters(used, scheme));
}

function isBounded({ min, max }: Ranges): boolean {
  // An empty group has min +inf and max -inf; an infinite element gives min -inf or max +inf.
  return min.every((v) => v !== Number.NEGATIVE_INFINITY) && max.every((v) => v !== Number.POSITIVE_INFINITY);
}

/** Quantizes with parameters that are known already. */
export function quantizeWith(floats: Float32Array, dims: readonly number[], layout: Layout, parameters: AffineParameters): QuantizedTensor {
  const codes = quantize(floats, layout, parameters);
  const { dtype, scale, zeroPoint } = parameters;
  return {
    data: new Tensor(dtype, dims, packCodes(codes, dtype)),
    scale: Tensor.of('float', layout.scaleDims, scale),
    zeroPoint: zeroPoint.some((z) => z !== 0) ? codesTensor(dtype, layout.scaleDims, zeroPoint) : undefined,
    parameters,
    layout,
  };
}
