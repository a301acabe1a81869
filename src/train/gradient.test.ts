import { describe, expect, it } from 'vitest';
import { runOrt } from '../../tests/oracle/ort.js';
import { sharedData } from '../../tests/shared-data.js';
import { inferShapes } from '../analysis/shapes.js';
import { type Builder, buildModel } from '../ir/builder.js';
import { isFloat } from '../ir/dtype.js';
import type { Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { parseModel } from '../ir/text.js';
import { verifyModel } from '../ir/verify.js';
import { nodeEngine } from '../node/engine.js';
import { readModel } from '../node/files.js';
import { dimsOf, type GradBuilder } from '../ops/grad-builder.js';
import { runPasses } from '../pass/manager.js';
import { simplify } from '../passes/simplify/index.js';
import { Rng } from '../util/rng.js';
import { type Differentiated, differentiate } from './gradient.js';

const rng = new Rng(12);
const random = (dims: readonly number[], scale = 1): Tensor =>
  Tensor.from(
    'float',
    dims,
    Float32Array.from({ length: dims.reduce((n, d) => n * d, 1) }, () => rng.normal() * scale),
  );

/** Feeds of a differentiated model: what the caller gives, and parameters and states as they stand. */
function feedsOf(result: Differentiated, feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const stored = [...result.parameters, ...result.states].filter(({ name }) => result.model.graph.value(name)?.isGraphInput);
  return { ...feeds, ...Object.fromEntries(stored.map(({ name, data }) => [name, data])) };
}

/** Relative difference between the slope that the gradients of all parameters give along a random direction and a central difference of the loss. */
async function directionError(result: Differentiated, feeds: Readonly<Record<string, Tensor>>, step: number): Promise<number> {
  verifyModel(result.model);
  const all = feedsOf(result, feeds);
  const reached = result.parameters.filter((p) => p.gradient !== null);
  const outputs = await runOrt(result.model, all);
  let slope = 0;
  const directions = new Map<string, Float32Array>();
  for (const { name, gradient } of reached) {
    const g = outputs[gradient!]!.floats();
    // Along the gradient itself, so that the slope is large, with noise, so that an error in any part shows.
    const norm = Math.sqrt(g.reduce((s, x) => s + x * x, 0)) || 1;
    const direction = g.map((x) => x / norm + (rng.normal() * 0.3) / Math.sqrt(g.length));
    directions.set(name, direction);
    slope += g.reduce((s, x, i) => s + x * direction[i]!, 0);
  }
  const lossAt = async (h: number): Promise<number> => {
    const moved = reached.map(({ name, data }) => {
      const d = directions.get(name)!;
      return [
        name,
        Tensor.from(
          'float',
          data.dims,
          data.floats().map((x, i) => x + h * d[i]!),
        ),
      ] as const;
    });
    return (await runOrt(result.model, { ...all, ...Object.fromEntries(moved) }, [result.loss]))[result.loss]!.floats()[0]!;
  };
  const difference = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
  return Math.abs(slope - difference) / Math.abs(difference);
}

async function checkDirection(result: Differentiated, feeds: Readonly<Record<string, Tensor>>, tolerance: number, step = 1e-3) {
  expect(await directionError(result, feeds, step)).toBeLessThan(tolerance);
}

/** Mean of the squares of an output. */
const meanSquare =
  (name: string) =>
  (b: GradBuilder, outputs: Readonly<Record<string, Value>>): Value => {
    const y = outputs[name]!;
    return b.reduceMean(
      b.mul(y, y),
      dimsOf(y).map((_, i) => i),
      false,
    );
  };

async function simplified(model: Model): Promise<Model> {
  return (await runPasses(model, [simplify({})], { engine: await nodeEngine() })).model;
}

function conv(b: Builder, x: Value, name: string, out: number, inner: number, attributes: Record<string, number[]>): Value {
  return b.op(
    'Conv',
    [x, b.constant(`${name}.w`, random([out, inner, 3, 3], 0.3)), b.constant(`${name}.b`, random([out], 0.1))],
    attributes,
  );
}

/** Convolutions, normalization by the batch, pooling, strides, a dense layer. */
function cnn(activation: string, pool: string): Model {
  return buildModel('cnn', (b) => {
    const x = b.input('x', 'float', ['batch', 2, 8, 8]);
    const c1 = conv(b, x, 'c1', 4, 2, { pads: [1, 1, 1, 1] });
    const bn = ['scale', 'bias', 'mean', 'var'].map((n) =>
      b.constant(`bn.${n}`, n === 'var' ? Tensor.from('float', [4], [1, 2, 1, 2]) : random([4])),
    );
    const h = b.op(activation, [b.op('BatchNormalization', [c1, ...bn])]);
    const c2 = conv(b, b.op(pool, [h], { kernel_shape: [2, 2], strides: [2, 2] }), 'c2', 4, 4, {
      strides: [2, 2],
      pads: [1, 1, 1, 1],
    });
    const flat = b.op('Flatten', [b.op('Tanh', [c2])]);
    b.output(b.op('Gemm', [flat, b.constant('fc.w', random([3, 16], 0.3)), b.constant('fc.b', random([3]))], { transB: 1 }), 'y');
  });
}

const IN_TRAINING = {
  loss: meanSquare('y'),
  training: true,
  shapes: { batch: 5 },
  parameters: (n: string) => !/mean|var/.test(n),
};

describe('differentiate', () => {
  it('a small convolutional network in training mode', async () => {
    // Smooth functions: differences are exact to rounding, whatever the weights.
    for (let i = 0; i < 3; i++) {
      const result = differentiate(cnn('Softplus', 'AveragePool'), IN_TRAINING);
      await checkDirection(result, { x: random([5, 2, 8, 8]) }, 3e-4);
    }
    const result = differentiate(cnn('Relu', 'MaxPool'), IN_TRAINING);
    expect(result.states.map((s) => [s.name, s.next])).toEqual([
      ['bn.mean', 'bn.mean_next'],
      ['bn.var', 'bn.var_next'],
    ]);
    expect(result.parameters.every((p) => p.gradient === `${p.name}_grad`)).toBe(true);
    const feeds = { x: random([5, 2, 8, 8]) };
    const out = await runOrt(result.model, feedsOf(result, feeds));
    expect(out['bn.var_next']!.dims).toEqual([4]);
    const simple = { ...result, model: await simplified(result.model) };
    expect(simple.model.graph.nodes.length).toBeLessThanOrEqual(result.model.graph.nodes.length);
    for (const network of [result, simple]) {
      // A difference across a kink of Relu or a change of a maximum is off (one weight set in ten by more than 0.1 %), so the median of five directions counts.
      const errors: number[] = [];
      for (let i = 0; i < 5; i++) errors.push(await directionError(network, feeds, 2e-4));
      expect(errors.sort((a, b) => a - b)[2]).toBeLessThan(1e-3);
    }
  });

  it('a transformer block, with tied embeddings', async () => {
    const [vocabulary, width, heads, sequence] = [11, 8, 2, 5];
    const model = buildModel('block', (b) => {
      const ids = b.input('ids', 'int64', ['batch', sequence]);
      const table = b.constant('table', random([vocabulary, width], 0.5));
      const x = b.op('Gather', [table, ids]);
      const norm = (v: Value, n: string) =>
        b.op('LayerNormalization', [v, b.constant(`${n}.s`, random([width])), b.constant(`${n}.b`, random([width]))]);
      const linear = (v: Value, n: string, i: number, o: number) =>
        b.op('Add', [b.op('MatMul', [v, b.constant(`${n}.w`, random([i, o], 0.4))]), b.constant(`${n}.b`, random([o], 0.1))]);
      const split = (v: Value, perm: number[]) =>
        b.op('Transpose', [b.op('Reshape', [v, b.ints('heads', [0, 0, heads, width / heads])])], { perm });
      const h = norm(x, 'ln1');
      const [q, k, v] = [
        split(linear(h, 'q', width, width), [0, 2, 1, 3]),
        split(linear(h, 'k', width, width), [0, 2, 3, 1]),
        split(linear(h, 'v', width, width), [0, 2, 1, 3]),
      ];
      const scores = b.op('Div', [b.op('MatMul', [q, k]), b.scalar('root', 'float', 2)]);
      const mixed = b.op('MatMul', [b.op('Softmax', [scores], { axis: -1 }), v]);
      const joined = b.op('Reshape', [b.op('Transpose', [mixed], { perm: [0, 2, 1, 3] }), b.ints('joined', [0, 0, width])]);
      const x1 = b.op('Add', [x, linear(joined, 'o', width, width)]);
      const ff = linear(b.op('Gelu', [linear(norm(x1, 'ln2'), 'f1', width, 16)]), 'f2', 16, width);
      b.output(b.op('MatMul', [b.op('Add', [x1, ff]), b.op('Transpose', [table], { perm: [1, 0] })]), 'y');
    });
    const result = differentiate(model, {
      loss: meanSquare('y'),
      shapes: { batch: 3 },
      parameters: (_, t) => isFloat(t.dtype) && t.size > 1,
    });
    const ids = Tensor.from(
      'int64',
      [3, sequence],
      Array.from({ length: 15 }, () => rng.integer(vocabulary)),
    );
    expect(result.parameters.find((p) => p.name === 'table')!.gradient).toBe('table_grad');
    await checkDirection(result, { ids }, 5e-3);
  });

  it('drops by the seed alone, and passes gradients by the same mask', async () => {
    const model = buildModel('drop', (b) => {
      const x = b.input('x', 'float', [40, 50]);
      const h = b.op('MatMul', [x, b.constant('w', random([50, 50]))]);
      b.output(b.op('Dropout', [h, b.scalar('ratio', 'float', 0.25), b.constant('train', Tensor.from('bool', [], [1]))]), 'y');
    });
    const result = differentiate(model, { loss: meanSquare('y'), training: true, parameters: ['w'] });
    const x = random([40, 50]);
    const at = (n: number) => ({ x, [result.seed!]: Tensor.from('int64', [], [n]) });
    const [a, again, other] = [
      await runOrt(result.model, feedsOf(result, at(7))),
      await runOrt(result.model, feedsOf(result, at(7))),
      await runOrt(result.model, feedsOf(result, at(8))),
    ];
    const zeros = (t: Tensor) => t.floats().map((v) => (v === 0 ? 1 : 0));
    expect(a.y!.floats()).toEqual(again.y!.floats());
    const [m, n] = [zeros(a.y!), zeros(other.y!)];
    const rate = m.reduce((s, v) => s + v, 0) / m.length;
    const both = m.reduce((s, v, i) => s + v * n[i]!, 0) / m.length;
    expect(rate).toBeGreaterThan(0.22);
    expect(rate).toBeLessThan(0.28);
    // Masks of two seeds are independent.
    expect(both).toBeGreaterThan(0.04);
    expect(both).toBeLessThan(0.09);
    await checkDirection(result, at(7), 5e-3);
  });

  it('goes straight through rounding within the range, and gives LSQ gradients to scales', async () => {
    const model = parseModel(`<ir_version: 10, opset_import: ["" : 21]> g (float[6] x) => (float[6] y)
      <float s = {0.5}, int8 z = {0}> { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }`);
    const result = differentiate(model, { loss: meanSquare('y'), parameters: ['s'], inputs: ['x'] });
    const values = [0.3, -0.9, 10.1, 100, -100, 63.6];
    const out = await runOrt(result.model, feedsOf(result, { x: Tensor.from('float', [6], values) }));
    const y = out.y!.floats();
    const dy = y.map((v) => (2 * v) / 6);
    const inside = values.map((v) => Math.abs(v) < 63.75);
    out.x_grad!.floats().forEach((g, i) => {
      expect(g).toBeCloseTo(inside[i] ? dy[i]! : 0, 4);
    });
    const expected = values.reduce((sum, v, i) => sum + dy[i]! * (y[i]! / 0.5 - (inside[i] ? v / 0.5 : 0)), 0);
    expect(out.s_grad!.floats()[0]! / expected).toBeCloseTo(1, 4);
  });

  it('gives gradients to scales and zero points per channel, as LSQ+ has them', async () => {
    const model = parseModel(`<ir_version: 10, opset_import: ["" : 21]> g (float[3,2] x) => (float[3,2] y)
      <float[2] s = {0.5, 0.1}, uint8[2] z = {100, 3}>
      { q = QuantizeLinear <axis = 1> (x, s, z) y = DequantizeLinear <axis = 1> (q, s, z) }`);
    const result = differentiate(model, { loss: meanSquare('y'), parameters: ['s', 'z'], inputs: ['x'] });
    // Columns reach from -50 to 77.5 and from -0.3 to 25.2.
    const values = [0.3, -0.9, -70, 10.13, 90, 40];
    const feeds = feedsOf(result, { x: Tensor.from('float', [3, 2], values) });
    const out = await runOrt(result.model, feeds);
    const y = out.y!.floats();
    expect([...y].map((v) => Math.round(v * 10) / 10)).toEqual([0.5, -0.3, -50, 10.1, 77.5, 25.2]);
    const inside = [true, false, false, true, false, false];
    const scales = [0.5, 0.1];
    const scale = (i: number) => scales[i % 2]!;
    const sum = (column: number, term: (i: number) => number) => [0, 1, 2].reduce((n, row) => n + term(2 * row + column), 0);
    for (const column of [0, 1]) {
      const dy = (i: number) => (2 * y[i]!) / 6;
      const dScale = sum(column, (i) => dy(i) * (y[i]! / scale(i) - (inside[i] ? values[i]! / scale(i) : 0)));
      const dZero = sum(column, (i) => (inside[i] ? 0 : -scale(i) * dy(i)));
      expect(out.s_grad!.floats()[column]! / dScale).toBeCloseTo(1, 4);
      expect(out.z_grad!.floats()[column]! / dZero).toBeCloseTo(1, 4);
    }
    expect(out.z_grad!.dims).toEqual([2]);
  });

  it('names every node without a gradient at once', () => {
    const model = parseModel(`<ir_version: 10, opset_import: ["" : 21]> g (float[3,3] x) => (float y)
      <float[3,3] w = {1,2,3,4,5,6,7,8,9}> { a = MatMul(x, w) d = Det(a) e = Det(w) y = Add(d, e) }`);
    const run = () => differentiate(model, { loss: 'y', parameters: ['w'] });
    expect(run).toThrow(/no gradient for 2 nodes: Det "Det\(e\)", Det "Det\(d\)"/);
  });

  it('answers null for parameters that the loss does not depend on', () => {
    const model = parseModel(`<ir_version: 10, opset_import: ["" : 21]> g (float[2,3] x) => (float[2,3] y, float[2,3] z)
      <float[3,3] w = {1,2,3,4,5,6,7,8,9}, float[3,3] v = {1,2,3,4,5,6,7,8,9}> { y = MatMul(x, w) z = MatMul(x, v) }`);
    const result = differentiate(model, { loss: meanSquare('y'), outputs: [] });
    expect(result.parameters.map((p) => p.gradient)).toEqual(['w_grad', null]);
    expect(result.model.graph.value('v')).toBeUndefined();
    expect(result.model.graph.outputs.map((v) => v.name)).toEqual(['loss', 'w_grad']);
  });
});

describe('real models', () => {
  const cases: readonly (readonly [string, string, Record<string, number>])[] = [
    ['resnet20', 'resnet20-cifar10/resnet20_cifar10.onnx', {}],
    ['sst2_bert_mini', 'text-models/sst2_bert_mini.onnx', {}],
    ['shakespeare_gpt', 'text-models/shakespeare_gpt.onnx', {}],
  ];
  it.each(cases)('%s', { timeout: 60_000 }, async (_, path) => {
    const file = sharedData(path);
    if (file === undefined) return;
    const model = await simplified(await readModel(file));
    inferShapes(model);
    const shapes: Record<string, readonly number[]> = {};
    const feeds: Record<string, Tensor> = {};
    for (const input of model.graph.inputs) {
      const { dtype, shape } = tensorTypeOf(input)!;
      const dims = shape!.map((d, i) => (typeof d === 'number' ? d : i === 0 ? 2 : 12));
      shapes[input.name] = dims;
      const size = dims.reduce((n, d) => n * d, 1);
      const integer = (i: number) => (/mask/.test(input.name) ? (i % 12 < 10 ? 1 : 0) : /type/.test(input.name) ? 0 : rng.integer(60));
      feeds[input.name] =
        dtype === 'float'
          ? random(dims)
          : Tensor.from(
              dtype,
              dims,
              Array.from({ length: size }, (_, i) => integer(i)),
            );
    }
    const output = model.graph.outputs[0]!.name;
    const result = differentiate(model, { loss: meanSquare(output), shapes, parameters: (_, t) => t.size > 1 });
    expect(result.parameters.some((p) => p.gradient !== null)).toBe(true);
    await checkDirection(result, feeds, 2e-2, 2e-4);
  });
});
