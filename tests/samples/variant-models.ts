// Small random models in the shape that exporters give: a text classifier with tied embeddings, convolution and decomposed layer normalization, and a
// merged decoder whose If chooses between an empty and a filled key-value cache.
import { inferShapes } from '../../src/analysis/shapes.js';
import { Builder, buildModel } from '../../src/ir/builder.js';
import { Graph, type Value } from '../../src/ir/graph.js';
import type { Model } from '../../src/ir/model.js';
import { Tensor } from '../../src/ir/tensor.js';
import { tensorType } from '../../src/ir/type.js';
import { Rng } from '../../src/util/rng.js';

export const VOCABULARY = 96;
export const WIDTH = 64;

function weights(b: Builder, rng: Rng, name: string, dims: readonly number[], scale = 0.2): Value {
  const count = dims.reduce((x, y) => x * y, 1);
  return b.constant(
    name,
    Tensor.of(
      'float',
      dims,
      Float32Array.from({ length: count }, () => rng.normal() * scale),
    ),
  );
}

/** Layer normalization as exporters of opset 14 take it apart. */
function layerNorm(b: Builder, x: Value, name: string): Value {
  const mean = b.op('ReduceMean', [x], { axes: [-1] });
  const centred = b.op('Sub', [x, mean]);
  const variance = b.op('ReduceMean', [b.op('Pow', [centred, b.scalar(`${name}_two`, 'float', 2)])], { axes: [-1] });
  const deviation = b.op('Sqrt', [b.op('Add', [variance, b.scalar(`${name}_epsilon`, 'float', 1e-12)])]);
  const scaled = b.op('Mul', [b.op('Div', [centred, deviation]), b.floats(`${name}_gain`, [WIDTH], new Array(WIDTH).fill(1.1))]);
  return b.op('Add', [scaled, b.floats(`${name}_bias`, [WIDTH], new Array(WIDTH).fill(0.05))]);
}

/** input_ids and attention_mask [batch, sequence] to logits [batch, 2] and token scores by the tied table [batch, sequence, vocabulary]. */
export function classifierModel(seed = 1): Model {
  const rng = new Rng(seed);
  const model = buildModel(
    'classifier',
    (b) => {
      const ids = b.input('input_ids', 'int64', ['batch', 'sequence']);
      const mask = b.input('attention_mask', 'int64', ['batch', 'sequence']);
      const table = weights(b, rng, 'table', [VOCABULARY, WIDTH], 1);
      let x = layerNorm(b, b.op('Gather', [table, ids]), 'first');
      const keep = b.op('Unsqueeze', [b.op('Cast', [mask], { to: 1 }), b.ints('last_axis', [-1])]);
      x = b.op('Mul', [x, keep]);
      // A convolution over the sequence, a product with bias, one stored transposed (Gemm), and one with a constant of three dimensions.
      const rows = b.op('Transpose', [x], { perm: [0, 2, 1] });
      const mixed = b.op(
        'Conv',
        [rows, weights(b, rng, 'kernel', [WIDTH, WIDTH, 3])],
        { kernel_shape: [3], pads: [1, 1] },
        { name: 'mix' },
      );
      x = b.op('Add', [x, b.op('Transpose', [mixed], { perm: [0, 2, 1] })]);
      const up = b.op('MatMul', [x, weights(b, rng, 'up', [WIDTH, 2 * WIDTH])], {}, { name: 'up_product' });
      const half = b.op('Relu', [b.op('Add', [up, weights(b, rng, 'up_bias', [2 * WIDTH])])]);
      x = layerNorm(
        b,
        b.op('Add', [x, b.op('MatMul', [half, weights(b, rng, 'down', [1, 2 * WIDTH, WIDTH])], {}, { name: 'down_product' })]),
        'second',
      );
      const scores = b.op('MatMul', [x, b.op('Transpose', [table], { perm: [1, 0] })], {}, { name: 'tied_product' });
      const pooled = b.op('ReduceMean', [x], { axes: [1], keepdims: 0 });
      const dense = b.op('Tanh', [
        b.op('Gemm', [pooled, weights(b, rng, 'dense', [WIDTH, WIDTH]), weights(b, rng, 'dense_bias', [WIDTH])], { transB: 1 }),
      ]);
      b.output(b.op('Gemm', [dense, weights(b, rng, 'classes', [WIDTH, 2]), weights(b, rng, 'classes_bias', [2])]), 'logits');
      b.output(scores, 'token_scores');
    },
    { opset: 14 },
  );
  model.irVersion = 8;
  inferShapes(model);
  return model;
}

const HEADS = 2;
const HEAD = WIDTH / HEADS;

/** Attention over the cache and the new tokens; answers logits and the longer cache. `past` null: there is none yet. */
function decoderStep(
  b: Builder,
  p: string,
  ids: Value,
  past: readonly [Value, Value] | null,
  w: Readonly<Record<string, Value>>,
): [Value, Value, Value] {
  const name = (n: string) => ({ name: `${p}${n}`, outputs: [`${p}${n}`] });
  const x = b.op('Gather', [w.table, ids], {}, name('embedded'));
  const split = (v: Value, n: string) =>
    b.op(
      'Transpose',
      [b.op('Reshape', [v, b.ints(`${p}${n}_heads`, [0, 0, HEADS, HEAD])], {}, name(`${n}_split`))],
      { perm: [0, 2, 1, 3] },
      name(`${n}_turned`),
    );
  const product = (v: Value, n: string) => b.op('MatMul', [v, w[n]], {}, name(`${n}_product`));
  const q = split(product(x, 'query'), 'query');
  let k = split(product(x, 'key'), 'key');
  let v = split(product(x, 'value'), 'value');
  if (past) {
    k = b.op('Concat', [past[0], k], { axis: 2 }, name('keys'));
    v = b.op('Concat', [past[1], v], { axis: 2 }, name('values'));
  }
  const scores = b.op('MatMul', [q, b.op('Transpose', [k], { perm: [0, 1, 3, 2] }, name('keys_turned'))], {}, name('scores'));
  const attended = b.op('MatMul', [b.op('Softmax', [scores], { axis: -1 }, name('weights')), v], {}, name('attended'));
  const joined = b.op(
    'Reshape',
    [b.op('Transpose', [attended], { perm: [0, 2, 1, 3] }, name('attended_turned')), b.ints(`${p}joined_shape`, [0, 0, WIDTH])],
    {},
    name('joined'),
  );
  const y = b.op('Add', [x, product(joined, 'out')], {}, name('sum'));
  const logits = b.op('MatMul', [y, b.op('Transpose', [w.table], { perm: [1, 0] }, name('table_turned'))], {}, name('logits'));
  return [logits, k, v];
}

/** A merged decoder: `use_cache_branch` chooses the branch; weights stand in the outer graph and both branches capture them. */
export function mergedDecoder(seed = 2): Model {
  const rng = new Rng(seed);
  return buildModel(
    'decoder',
    (b) => {
      const ids = b.input('input_ids', 'int64', ['batch', 'sequence']);
      b.input('attention_mask', 'int64', ['batch', 'past_sequence + sequence']);
      const cache = ['batch', HEADS, 'past_sequence', HEAD] as const;
      const past = [b.input('past_key_values.0.key', 'float', cache), b.input('past_key_values.0.value', 'float', cache)] as const;
      const flag = b.input('use_cache_branch', 'bool', [1]);
      const w: Record<string, Value> = { table: weights(b, rng, 'table', [VOCABULARY, WIDTH], 1) };
      for (const n of ['query', 'key', 'value', 'out']) w[n] = weights(b, rng, n, [WIDTH, WIDTH], 0.08);
      const branch = (p: string, cached: boolean): Graph => {
        const graph = new Graph(`${p}branch`, b.graph);
        const inner = new Builder(graph);
        for (const v of decoderStep(inner, p, ids, cached ? past : null, w)) graph.addOutput(v);
        return graph;
      };
      const node = b.node(
        'If',
        [b.op('Squeeze', [flag])],
        { then_branch: { type: 'graph', value: branch('with_', true) }, else_branch: { type: 'graph', value: branch('without_', false) } },
        { name: 'merged', outputs: ['logits', 'present.0.key', 'present.0.value'] },
      );
      const present = ['batch', HEADS, 'all', HEAD] as const;
      const types = [tensorType('float', ['batch', 'sequence', VOCABULARY]), tensorType('float', present), tensorType('float', present)];
      node.outputs.forEach((v, i) => {
        v!.type = types[i];
        b.graph.addOutput(v!);
      });
    },
    { opset: 17 },
  );
}
