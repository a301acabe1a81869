// Takes adapters into the weights: W + s A B, and the graph is as it was before. Weights stored in few bits become float, since the sum is no longer on
// their grid; quantize again afterwards, or keep the adapters apart.
import { z } from 'zod';
import { inferShapes } from '../../analysis/shapes.js';
import { bugError, nothingToDoError } from '../../errors.js';
import { Builder } from '../../ir/builder.js';
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { definePass } from '../../pass/define.js';
import type { Engine } from '../../runtime/engine.js';
import { evaluateConstants } from '../../runtime/evaluate.js';
import { takeOutputName, unfreeze } from './add.js';
import { type Adapter, findAdapters } from './find.js';

export const mergeAdapters = definePass({
  name: 'merge-adapters',
  summary: 'low-rank adapters (LoRA) become part of the weights',
  options: z.object({}),
  needs: { engine: true },
  async run(model, _, ctx) {
    inferShapes(model);
    const adapters = findAdapters(model);
    if (adapters.length === 0) throw nothingToDoError('adapters: expected a model with adapters, got one without');
    for (const adapter of adapters) {
      ctx.checkAborted();
      await mergeOne(model, adapter, ctx.engine, ctx.threads);
    }
    unfreeze(model);
    model.graph.pruneValues();
    return true;
  },
});

async function mergeOne(model: Model, adapter: Adapter, engine: Engine, threads: number | undefined): Promise<void> {
  const { node, k, n, layer } = adapter;
  const { graph } = model;
  const weight = await weightOf(model, adapter, engine, threads);
  const update = productOf(adapter);
  // Of a Gemm the whole product is scaled.
  const alpha = node.op === 'Gemm' ? node.float('alpha', 1) : 1;
  const merged = weight.map((v, i) => v + update[i]! / alpha);
  detach(adapter);
  const old = node.input(1)!;
  const tensor = Tensor.of('float', [k, n], merged);
  if (node.opType === 'MatMulNBits') {
    replaceLowBit(node, graph.addInitializer(`${layer}.weight`, tensor));
    return;
  }
  const value = graph.addInitializer(`${layer}.weight`, tensor);
  node.setInput(1, value);
  if (node.opType === 'Gemm') node.setAttribute('transB', undefined);
  if (old.initializer && old.readerCount === 0) {
    const { name } = old;
    graph.pruneValues();
    if (graph.ownValue(name) === undefined) graph.rename(value, name);
  } else removeUnread(old);
}

/** [k, n] as the runtime multiplies with it. */
async function weightOf(model: Model, { node, k, n }: Adapter, engine: Engine, threads: number | undefined): Promise<Float32Array> {
  const { graph } = model;
  let value: Value = node.input(1)!;
  let probe: Node | undefined;
  if (node.opType === 'MatMulNBits') {
    const ones = new Float32Array(k * k);
    for (let i = 0; i < k; i++) ones[i * k + i] = 1;
    const b = new Builder(graph, { before: node });
    const identity = b.floats('identity', [k, k], ones);
    const attributes = Object.fromEntries(node.attributes);
    probe = b.node(
      'MatMulNBits',
      [identity, ...[1, 2, 3, 4].map((i) => node.input(i))],
      { ...attributes, accuracy_level: 1 },
      { domain: 'com.microsoft' },
    );
    value = probe.output();
  }
  const { tensors, failures } = await evaluateConstants(engine, model, [value], { threads });
  const tensor = tensors.get(value);
  if (!tensor) throw bugError(`adapter of ${node.label}: its weight could not be read: ${failures.get(value)}`);
  if (probe) graph.removeNode(probe);
  const floats = (await tensor.load()).floats();
  if (node.int('transB', 0) === 0 || probe) return floats.slice();
  const out = new Float32Array(floats.length);
  for (let j = 0; j < n; j++) for (let i = 0; i < k; i++) out[i * n + j] = floats[j * k + i]!;
  return out;
}

/** s A B. */
function productOf({ a, b, k, n, scale }: Adapter): Float64Array {
  const [x, y] = [a.initializer!.floats(), b.initializer!.floats()];
  const rank = a.initializer!.dims[1]!;
  const out = new Float64Array(k * n);
  for (let i = 0; i < k; i++) {
    for (let r = 0; r < rank; r++) {
      const v = scale * x[i * rank + r]!;
      for (let j = 0; j < n; j++) out[i * n + j]! += v * y[r * n + j]!;
    }
  }
  return out;
}

/** Takes the adapter's nodes out; the product's own output is read again. */
function detach({ node, down, scaling, up, sum }: Adapter): void {
  const { graph } = node;
  const [base, output] = [node.output(), sum.output()];
  for (const use of [...output.uses]) use.node.setInput(use.index, base);
  takeOutputName(output, base);
  for (const gone of [sum, up, ...(scaling ? [scaling] : []), down]) graph.removeNode(gone);
}

function replaceLowBit(node: Node, weight: Value): void {
  const { graph } = node;
  const b = new Builder(graph, { before: node });
  const bias = node.input(5);
  const packed = [1, 2, 3].map((i) => node.input(i));
  const output = node.output();
  const product = b.op('MatMul', [node.input(0), weight], {}, { name: node.name });
  const result = bias ? b.op('Add', [product, bias]) : product;
  if (output.type) result.type = output.type;
  graph.replaceValue(output, result);
  graph.removeNode(node);
  for (const value of packed) if (value) removeUnread(value);
}

/** Removes what computed a constant that nobody reads any more. */
function removeUnread(value: Value): void {
  const { producer } = value;
  if (!producer || producer.outputs.some((o) => o && o.readerCount > 0)) return;
  const inputs = [...producer.inputs];
  producer.graph.removeNode(producer);
  for (const input of inputs) if (input) removeUnread(input);
}
