// Tables of embeddings as products of two: E [tokens, width] becomes A [tokens, rank] B [rank, width], the best one by squared error (ALBERT's factorized
// embedding, Lan et al. 2020, started from the truncated singular value decomposition): tokens x width numbers become rank x (tokens + width).
import { usageError } from '../errors.js';
import { Builder } from '../ir/builder.js';
import type { Node, Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { tensorType } from '../ir/type.js';
import { DenseMath } from '../quant/dense-math.js';
import type { Engine } from '../runtime/engine.js';
import { symmetricEigen } from '../util/symmetric-eigen.js';

export interface FactorizedEmbedding {
  readonly name: string;
  readonly rank: number;
  readonly elements: { readonly before: number; readonly after: number };
  /** Share of the squared length of the table that is lost. */
  readonly lost: number;
}

/** Replaces every table that saves by it, in place. Throws E_USAGE where none does. */
export async function factorizeEmbeddings(model: Model, rank: number, engine: Engine, threads?: number): Promise<FactorizedEmbedding[]> {
  const found = model.graph.nodes.filter((node) => isLookup(node) && saves(node.input(0)!, rank));
  if (found.length === 0) throw usageError(`embedding rank: expected a table of embeddings that rank ${rank} makes smaller, got none`);
  const math = await DenseMath.open(engine, threads);
  try {
    const done: FactorizedEmbedding[] = [];
    for (const node of found) done.push(await factorize(node, rank, math));
    model.graph.pruneValues();
    return done;
  } finally {
    await math.release();
  }
}

/** Rows of a constant matrix that only this node reads. A table that also scores tokens stays: both must stay the same. */
function isLookup(node: Node): boolean {
  const [table] = node.inputs;
  return (
    node.opType === 'Gather' &&
    node.domain === '' &&
    node.int('axis', 0) === 0 &&
    table?.initializer?.dtype === 'float' &&
    table.initializer.rank === 2 &&
    table.readerCount === 1
  );
}

function saves(table: Value, rank: number): boolean {
  const [tokens, width] = table.initializer!.dims as [number, number];
  return rank < width && rank * (tokens + width) < tokens * width;
}

async function factorize(node: Node, rank: number, math: DenseMath): Promise<FactorizedEmbedding> {
  const table = node.input(0)!;
  const [tokens, width] = table.initializer!.dims as [number, number];
  const e = table.initializer!.floats();
  const transposed = new Float32Array(e.length);
  for (let i = 0; i < tokens; i++) for (let j = 0; j < width; j++) transposed[j * tokens + i] = e[i * width + j]!;
  const { values, vectors } = symmetricEigen(await math.product(transposed, e, width, tokens, width), width);
  const basis = Float32Array.from(vectors.subarray(0, rank * width));
  const columns = new Float32Array(basis.length);
  for (let r = 0; r < rank; r++) for (let j = 0; j < width; j++) columns[j * rank + r] = basis[r * width + j]!;
  const small = await math.product(e, columns, tokens, width, rank);
  const { graph } = node;
  const output = node.output();
  const b = new Builder(graph, { before: node });
  const rows = b.op('Gather', [b.constant(`${table.name}_rows`, Tensor.of('float', [tokens, rank], small)), node.input(1)], { axis: 0 });
  const wide = b.op('MatMul', [rows, b.constant(`${table.name}_basis`, Tensor.of('float', [rank, width], basis))]);
  const shape = tensorTypeOf(output)?.shape;
  rows.type = tensorType('float', shape ? [...shape.slice(0, -1), rank] : null);
  wide.type = output.type;
  graph.replaceValue(output, wide);
  graph.removeNode(node);
  const total = values.reduce((sum, v) => sum + Math.max(0, v), 0);
  const kept = values.subarray(0, rank).reduce((sum, v) => sum + Math.max(0, v), 0);
  return {
    name: table.name,
    rank,
    elements: { before: tokens * width, after: rank * (tokens + width) },
    lost: total > 0 ? 1 - kept / total : 0,
  };
}
