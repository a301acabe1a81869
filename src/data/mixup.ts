// Mixup (Zhang et al. 2018): every sample becomes a mixture of itself and another one of its batch, and so does its label: class labels become
// probabilities. x = l x_i + (1 - l) x_j, l from Beta(alpha, alpha), one l a batch as in the paper.
import { dataError, usageError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import { elementCount, Tensor } from '../ir/tensor.js';
import type { Rng } from '../util/rng.js';
import type { Augmentation } from './augment.js';

/** Class labels come out as probabilities, float [n, classes]; labels that are values are mixed as they are. */
export function mixup(alpha = 0.2): Augmentation {
  const name = `mixup:${alpha}`;
  if (!(alpha > 0)) throw usageError(`augmentation ${name}: expected a number above 0`);
  return {
    name,
    apply(batch, { batch: rng, classes, samples }) {
      const { labels } = batch;
      if (labels === undefined) throw dataError(`augmentation ${name}: expected labelled data, got data without labels`);
      const part = beta(alpha, rng);
      const partner = rng.shuffle(samples.map((_, i) => i));
      const inputs = Object.entries(batch.inputs).map(([key, tensor]) => {
        if (!isFloat(tensor.dtype))
          throw dataError(`augmentation ${name}: expected float inputs, got "${key}" ${tensor.dtype}[${tensor.dims}]`, {
            hint: 'token ids cannot be mixed; leave it out',
          });
        return [key, mixRows(tensor, partner, part)] as const;
      });
      const soft = isFloat(labels.dtype) ? labels : oneHot(labels, classes, name);
      return { ...batch, inputs: Object.fromEntries(inputs), labels: mixRows(soft, partner, part) };
    },
  };
}

function mixRows(tensor: Tensor, partner: readonly number[], part: number): Tensor {
  const each = elementCount(tensor.dims.slice(1));
  const values = tensor.floats();
  const out = new Float32Array(values.length);
  for (const [i, j] of partner.entries())
    for (let k = 0; k < each; k++) out[i * each + k] = part * values[i * each + k]! + (1 - part) * values[j * each + k]!;
  return Tensor.of('float', tensor.dims, out).cast(tensor.dtype);
}

function oneHot(labels: Tensor, classes: number | undefined, name: string): Tensor {
  if (classes === undefined)
    throw usageError(`augmentation ${name}: expected the number of classes, which this data does not say`, {
      hint: 'set "classes"',
    });
  const out = new Float32Array(labels.size * classes);
  for (const [i, label] of Array.from(labels.numbers()).entries()) {
    if (!(Number.isInteger(label) && label >= 0 && label < classes))
      throw dataError(`augmentation ${name}: expected labels from 0 to ${classes - 1}, got ${label}`);
    out[i * classes + label] = 1;
  }
  return Tensor.of('float', [...labels.dims, classes], out);
}

/** Beta(a, a) as the share of one of two gamma deviates. Computed in logarithms: for small a both are often below the smallest number. */
function beta(a: number, rng: Rng): number {
  const [x, y] = [logGamma(a, rng), logGamma(a, rng)];
  return 1 / (1 + Math.exp(y - x));
}

/** Logarithm of a gamma deviate of shape `a` and scale 1 (Marsaglia and Tsang 2000, with their step for shapes below 1). */
function logGamma(a: number, rng: Rng): number {
  if (a < 1) return logGamma(a + 1, rng) + Math.log(1 - rng.uniform()) / a;
  const d = a - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = rng.normal();
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - rng.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return Math.log(d) + Math.log(v);
  }
}
