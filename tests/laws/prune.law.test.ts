// Laws of structured pruning: removing units whose weights are zero changes nothing; removing any units gives what masking them gives; and every
// group of every kind of network is whole, so that the result is valid and runs.
import { describe, expect, test } from 'vitest';
import { type ChannelGroup, channelGroups } from '../../src/analysis/channel-groups.js';
import { inferShapes } from '../../src/analysis/shapes.js';
import { Builder } from '../../src/ir/builder.js';
import { type Model, tensorTypeOf } from '../../src/ir/model.js';
import { Tensor } from '../../src/ir/tensor.js';
import { parseModel } from '../../src/ir/text.js';
import { verifyModel } from '../../src/ir/verify.js';
import { cloneModel } from '../../src/ir/walk.js';
import { removeByName } from '../../src/passes/prune/structured/remove.js';
import { Rng } from '../../src/util/rng.js';
import { randomTensor, runModel } from '../pass-context.js';

interface Case {
  readonly name: string;
  readonly text: string;
  readonly weights: Readonly<Record<string, readonly number[]>>;
  readonly feed: Readonly<Record<string, readonly number[]>>;
  /** Numbers of groups and units that must be found: a law over nothing says nothing. */
  readonly sizes: readonly number[];
}

const HEAD = '<ir_version: 10, opset_import: ["" : 21]>';

const CASES: readonly Case[] = [
  {
    name: 'residual sum, depthwise convolution, batch normalization',
    text: `${HEAD} g (float[N,3,8,8] x) => (float[N,5] y) {
      a = Conv<pads = [1,1,1,1]>(x, w0, b0)
      n = BatchNormalization(a, s, o, m, v)
      r = Relu(n)
      d = Conv<pads = [1,1,1,1], group = 8>(r, w1)
      p = Conv(d, w2)
      z = Add(r, p)
      q = GlobalAveragePool(z)
      f = Flatten(q)
      y = Gemm<transB = 1>(f, w3, b3)
    }`,
    weights: { w0: [8, 3, 3, 3], b0: [8], s: [8], o: [8], m: [8], v: [8], w1: [8, 1, 3, 3], w2: [8, 8, 1, 1], w3: [5, 8], b3: [5] },
    feed: { x: [2, 3, 8, 8] },
    sizes: [8],
  },
  {
    name: 'concatenation, split, squeeze and excite, flattened map',
    text: `${HEAD} g (float[N,3,4,4] x) => (float[N,5] y) {
      a = Conv(x, w0)
      b = Conv(x, w1)
      c = Concat<axis = 1>(a, b)
      e = GlobalAveragePool(c)
      h = Conv(e, w2)
      k = Relu(h)
      i = Conv(k, w3)
      j = Sigmoid(i)
      l = Mul(c, j)
      s1, s2 = Split<axis = 1, num_outputs = 2>(l)
      t = Add(s1, s2)
      f = Flatten(t)
      y = MatMul(f, w4)
    }`,
    weights: { w0: [4, 3, 1, 1], w1: [4, 3, 1, 1], w2: [6, 8, 1, 1], w3: [8, 6, 1, 1], w4: [64, 5] },
    feed: { x: [2, 3, 4, 4] },
    sizes: [4, 6],
  },
  {
    name: 'attention heads and feed-forward width under open batch and sequence',
    text: `${HEAD} g (float[N,S,12] x) => (float[N,S,12] y)
      <int64[4] split = {0, 0, 3, 4}, int64[3] join = {0, 0, 12}> {
      q = MatMul(x, wq)
      k = MatMul(x, wk)
      v = MatMul(x, wv)
      q4 = Reshape(q, split)
      k4 = Reshape(k, split)
      v4 = Reshape(v, split)
      qt = Transpose<perm = [0,2,1,3]>(q4)
      kt = Transpose<perm = [0,2,3,1]>(k4)
      vt = Transpose<perm = [0,2,1,3]>(v4)
      s = MatMul(qt, kt)
      p = Softmax<axis = -1>(s)
      c = MatMul(p, vt)
      ct = Transpose<perm = [0,2,1,3]>(c)
      cf = Reshape(ct, join)
      o = MatMul(cf, wo)
      r = Add(x, o)
      f = MatMul(r, w1)
      g = Relu(f)
      h = MatMul(g, w2)
      y = Add(r, h)
    }`,
    weights: { wq: [12, 12], wk: [12, 12], wv: [12, 12], wo: [12, 12], w1: [12, 10], w2: [10, 12] },
    feed: { x: [2, 5, 12] },
    sizes: [3, 10],
  },
  {
    name: 'channel shuffle of a grouped convolution',
    text: `${HEAD} g (float[N,3,4,4] x) => (float[N,5,4,4] y)
      <int64[5] apart = {0, 2, 4, 4, 4}, int64[4] back = {0, 8, 4, 4}> {
      a = Conv(x, w0)
      s = Reshape(a, apart)
      t = Transpose<perm = [0,2,1,3,4]>(s)
      u = Reshape(t, back)
      c = Conv(u, w1)
      y = Conv(c, w2)
    }`,
    weights: { w0: [8, 3, 1, 1], w1: [6, 8, 1, 1], w2: [5, 6, 1, 1] },
    feed: { x: [2, 3, 4, 4] },
    sizes: [2, 6],
  },
  {
    name: 'what a Pad adds and a Slice cuts stays',
    text: `${HEAD} g (float[N,3] x) => (float[N,4] y)
      <int64[2] pads = {0, 2}, int64[1] axes = {1}, int64[1] from = {2}, int64[1] to = {8}> {
      a = MatMul(x, w0)
      p = Pad(a, pads, , axes)
      q = Relu(p)
      s = Slice(q, from, to, axes)
      b = MatMul(s, w1)
      y = MatMul(b, w2)
    }`,
    weights: { w0: [3, 6], w1: [6, 7], w2: [7, 4] },
    feed: { x: [2, 3] },
    sizes: [4, 7],
  },
];

function build(c: Case): Model {
  // Weights are written as inputs and then bound.
  const weights = Object.entries(c.weights).map(([name, dims]) => `float[${dims.join(',')}] ${name}`);
  const model = parseModel(c.text.replace(' x) =>', ` x, ${weights.join(', ')}) =>`));
  const { graph } = model;
  Object.entries(c.weights).forEach(([name, dims], i) => {
    const tensor = randomTensor(dims, i + 1, 0.5);
    // A variance is positive.
    const data =
      name === 'v'
        ? Tensor.of(
            'float',
            dims,
            tensor.floats().map((t) => Math.abs(t) + 0.5),
          )
        : tensor;
    graph.setInitializer(graph.ownValue(name)!, data);
    graph.removeInput(graph.ownValue(name)!);
  });
  inferShapes(model);
  return model;
}

/** The model with the units' values set to zero where a node sums over them. */
function masked(model: Model, removal: ReadonlyMap<ChannelGroup, readonly number[]>): Model {
  const copy = cloneModel(model);
  for (const [group, units] of removal) {
    for (const m of group.members) {
      const value = copy.graph.ownValue(m.value.name)!;
      if (m.value.isConstant || !m.roles.some((r) => r.contracted)) continue;
      const shape = tensorTypeOf(m.value)!.shape!;
      const mask = new Float32Array(shape[m.axis] as number).fill(1);
      for (const u of units) for (let i = 0; i < m.perUnit; i++) mask[m.positions[u * m.perUnit + i]!] = 0;
      const dims = shape.map((_, axis) => (axis === m.axis ? mask.length : 1));
      for (const use of [...value.uses]) {
        const b = new Builder(copy.graph, { before: use.node, prefix: 'mask_' });
        use.node.setInput(use.index, b.op('Mul', [value, b.constant('m', Tensor.of('float', dims, mask))]));
      }
    }
  }
  return copy;
}

describe.each(CASES)('$name', (c) => {
  const model = build(c);
  const found = channelGroups(model);

  test('finds its groups', () => {
    expect(found.groups.map((g) => g.size).sort((a, b) => a - b)).toEqual([...c.sizes].sort((a, b) => a - b));
  });

  test.each([1, 2, 3])('removing equals masking, seed %i', async (seed) => {
    const rng = new Rng(seed);
    const removal = new Map(
      found.groups.map((g) => {
        const units = Array.from({ length: g.size }, (_, i) => i);
        rng.shuffle(units);
        return [g, units.slice(0, 1 + rng.integer(g.size - 1))] as const;
      }),
    );
    const pruned = cloneModel(model);
    await removeByName(pruned, removal);
    verifyModel(pruned);
    const feeds = [Object.fromEntries(Object.entries(c.feed).map(([name, dims]) => [name, randomTensor(dims, 9)]))];
    const [wanted] = await runModel(masked(model, removal), feeds);
    const [got] = await runModel(pruned, feeds);
    expect(got!.length).toBe(wanted!.length);
    got!.forEach((v, i) => {
      expect(Math.abs(v - wanted![i]!)).toBeLessThan(1e-4 * (1 + Math.abs(wanted![i]!)));
    });
  });
});

test('what must stay says why', () => {
  const model = build(CASES[0]!);
  const { frozen } = channelGroups(model);
  expect(frozen).toEqual([expect.objectContaining({ channels: 5, of: 5, reason: '"y" is an output of the model' })]);
  const kept = channelGroups(model, { protect: (name) => name === 'w2' });
  expect(kept.groups).toHaveLength(0);
  expect(kept.frozen.map((f) => f.reason)).toContain('protected by name');
});
