// Sparse initializers: positions (int64, as ONNX has them, counted over the whole tensor) and values of what is not zero. ONNX Runtime makes them dense when
// it loads the model, so they save bytes of the file, not memory and not time; 12 bytes a float weight pay from two thirds of zeros on.
import type { Value } from '../../../ir/graph.js';
import type { Model } from '../../../ir/model.js';
import { Tensor } from '../../../ir/tensor.js';

const INDEX_BYTES = 8;
/** Oldest format that has sparse initializers. */
const OLDEST_IR = 6;

/** Why a weight cannot be stored sparsely, or would not get smaller; undefined where it can. */
function storageProblem(value: Value, model: Model): string | undefined {
  const tensor = value.initializer!;
  if (model.irVersion < OLDEST_IR)
    return `its file format (IR version ${model.irVersion}) has no sparse initializers, which came with ${OLDEST_IR}`;
  if (tensor.dtype !== 'float') return `it is ${tensor.dtype}: ONNX Runtime's sparse initializers are tested with float`;
  if (value.graph !== model.graph) return 'it belongs to a subgraph';
  if (value.users.some((n) => n.domain !== '')) return 'an operator outside of ONNX reads it';
  const nonzero = countNonzero(tensor.floats());
  const bytes = nonzero * (INDEX_BYTES + 4);
  if (bytes >= tensor.byteLength)
    return `${((1 - nonzero / tensor.size) * 100).toFixed(0)} % of it are zeros: positions and values would take ${bytes} bytes instead of ${tensor.byteLength}`;
  return undefined;
}

/** Stores the weights sparsely where that is possible and smaller; `refuse` hears of the others. Answers the bytes saved. */
export function storeSparsely(model: Model, values: readonly Value[], refuse: (value: Value, reason: string) => void): number {
  let saved = 0;
  for (const value of values) {
    const problem = storageProblem(value, model);
    if (problem !== undefined) {
      refuse(value, problem);
      continue;
    }
    const tensor = value.initializer!;
    const floats = tensor.floats();
    const count = countNonzero(floats);
    const [indices, values] = [new BigInt64Array(count), new Float32Array(count)];
    let at = 0;
    for (let i = 0; i < floats.length; i++) {
      if (floats[i] === 0) continue;
      indices[at] = BigInt(i);
      values[at++] = floats[i]!;
    }
    value.sparse = {
      dims: tensor.dims,
      values: Tensor.of('float', [count], values),
      indices: Tensor.of('int64', [count], indices),
      name: value.name,
    };
    value.initializer = null;
    value.type = { kind: 'tensor', dtype: 'float', shape: tensor.dims };
    saved += tensor.byteLength - count * (INDEX_BYTES + 4);
  }
  return saved;
}

function countNonzero(values: Float32Array): number {
  let count = 0;
  for (const v of values) if (v !== 0) count++;
  return count;
}
