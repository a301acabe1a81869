// Every block builds, has types throughout, runs in ONNX Runtime, and computes what it says: against plain TypeScript where that is short.
import { beforeAll, describe, expect, it, test } from 'vitest';
import { inferShapes } from '../analysis/shapes.js';
import type { DType } from '../ir/dtype.js';
import type { Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { formatType, type Shape } from '../ir/type.js';
import { nodeEngine } from '../node/engine.js';
import { decodeModel } from '../onnx/decode.js';
import { encodeModel } from '../onnx/encode.js';
import type { Engine } from '../runtime/engine.js';
import { randomFeeds } from '../runtime/inputs.js';
import { openSession } from '../runtime/session.js';
import { Rng } from '../util/rng.js';
import * as nn from './index.js';
import type { Scope } from './scope.js';

let engine: Engine;
beforeAll(async () => {
  engine = await nodeEngine();
});

interface Input {
  readonly shape: Shape;
  readonly dtype?: DType;
}

const IMAGE: Input = { shape: ['batch', 6, 'height', 'width'] };
const FIXED_IMAGE: Input = { shape: ['batch', 6, 9, 12] };
const SEQUENCE: Input = { shape: ['batch', 'sequence', 8] };
const VECTOR: Input = { shape: ['batch', 8] };

function network({ shape, dtype = 'float' }: Input, block: (scope: Scope, x: Value) => Value, seed = 0): Model {
  return nn.buildNetwork('block', (scope) => scope.output(block(scope.at('block'), scope.input('x', dtype, shape)), 'y'), { seed });
}

async function run(model: Model, feeds: Record<string, Tensor>, outputs: readonly string[] = []) {
  const session = await openSession(engine, model, { outputs });
  try {
    return await session.run(feeds);
  } finally {
    await session.release();
  }
}

const randomTensor = (dims: readonly number[], seed = 1) => {
  const rng = new Rng(seed);
  return Tensor.from(
    'float',
    dims,
    Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => rng.normal()),
  );
};

const weights = (model: Model, name: string) => Array.from(model.graph.value(name)!.initializer!.floats());

type Case = readonly [name: string, input: Input, type: string, block: (scope: Scope, x: Value) => Value];

const CASES: readonly Case[] = [
  ['linear on vectors', VECTOR, 'float[batch,5]', (s, x) => nn.linear(s, x, { features: 5 })],
  ['linear without bias', VECTOR, 'float[batch,5]', (s, x) => nn.linear(s, x, { features: 5, bias: false })],
  ['linear on sequences', SEQUENCE, 'float[batch,sequence,5]', (s, x) => nn.linear(s, x, { features: 5 })],
  ['low rank', SEQUENCE, 'float[batch,sequence,5]', (s, x) => nn.lowRankLinear(s, x, { features: 5, rank: 2 })],
  ['LoRA', VECTOR, 'float[batch,5]', (s, x) => nn.loraLinear(s, x, { features: 5, rank: 2, alpha: 4 })],
  ['conv', IMAGE, 'float[batch,4,height,width]', (s, x) => nn.conv(s, x, { channels: 4 })],
  ['conv, even kernel, stride', FIXED_IMAGE, 'float[batch,4,5,6]', (s, x) => nn.conv(s, x, { channels: 4, kernel: [10, 4], stride: 2 })],
  ['conv, valid, dilated', FIXED_IMAGE, 'float[batch,4,5,8]', (s, x) => nn.conv(s, x, { channels: 4, padding: 'valid', dilation: 2 })],
  ['conv, groups', FIXED_IMAGE, 'float[batch,4,11,14]', (s, x) => nn.conv(s, x, { channels: 4, groups: 2, padding: 2 })],
  ['conv over time', { shape: ['batch', 6, 20] }, 'float[batch,4,10]', (s, x) => nn.conv(s, x, { channels: 4, kernel: 5, stride: 2 })],
  ['conv, norm, activation', IMAGE, 'float[batch,4,height,width]', (s, x) => nn.convNorm(s, x, { channels: 4 })],
  ['depthwise separable', IMAGE, 'float[batch,4,height,width]', (s, x) => nn.depthwiseSeparable(s, x, { channels: 4 })],
  ['squeeze and excitation', IMAGE, 'float[batch,6,height,width]', (s, x) => nn.squeezeExcite(s, x)],
  ['inverted residual', IMAGE, 'float[batch,6,height,width]', (s, x) => nn.invertedResidual(s, x, { channels: 6, hidden: 24 })],
  [
    'inverted residual of V3',
    FIXED_IMAGE,
    'float[batch,8,5,6]',
    (s, x) => nn.invertedResidual(s, x, { channels: 8, hidden: 24, kernel: 5, stride: 2, squeezeExcite: true, activation: 'hard-swish' }),
  ],
  ['residual', IMAGE, 'float[batch,6,height,width]', (s, x) => nn.residualBlock(s, x, { channels: 6 })],
  ['residual, A', FIXED_IMAGE, 'float[batch,12,5,6]', (s, x) => nn.residualBlock(s, x, { channels: 12, stride: 2, shortcut: 'A' })],
  ['residual, B', FIXED_IMAGE, 'float[batch,12,5,6]', (s, x) => nn.residualBlock(s, x, { channels: 12, stride: 2, shortcut: 'B' })],
  ['batch norm', IMAGE, 'float[batch,6,height,width]', (s, x) => nn.batchNorm(s, x)],
  ['layer norm', SEQUENCE, 'float[batch,sequence,8]', (s, x) => nn.layerNorm(s, x)],
  ['max pool', FIXED_IMAGE, 'float[batch,6,4,6]', (s, x) => nn.pool(s, x)],
  [
    'average pool, same',
    FIXED_IMAGE,
    'float[batch,6,5,6]',
    (s, x) => nn.pool(s, x, { kind: 'average', kernel: 3, stride: 2, padding: 'same' }),
  ],
  ['global average pool', IMAGE, 'float[batch,6]', (s, x) => nn.globalAveragePool(s, x)],
  ['attention', SEQUENCE, 'float[batch,sequence,8]', (s, x) => nn.multiHeadAttention(s, x, { heads: 2, dropout: 0.1 })],
  ['attention, fused', SEQUENCE, 'float[batch,sequence,8]', (s, x) => nn.multiHeadAttention(s, x, { heads: 2, fused: true })],
  ['encoder, post', SEQUENCE, 'float[batch,sequence,8]', (s, x) => nn.encoderBlock(s, x, { heads: 2, dropout: 0.1 })],
  [
    'encoder, pre',
    SEQUENCE,
    'float[batch,sequence,8]',
    (s, x) => nn.encoderBlock(s, x, { heads: 2, norm: 'pre', activation: 'gelu-tanh' }),
  ],
  ['decoder with memory', SEQUENCE, 'float[batch,sequence,8]', (s, x) => nn.decoderBlock(s, x, { heads: 2, memory: x })],
  ['LSTM', SEQUENCE, 'float[batch,sequence,5]', (s, x) => nn.lstm(s, x, { hidden: 5 })],
  ['LSTM, both ways', SEQUENCE, 'float[batch,sequence,10]', (s, x) => nn.lstm(s, x, { hidden: 5, bidirectional: true })],
  ['GRU, last', SEQUENCE, 'float[batch,10]', (s, x) => nn.gru(s, x, { hidden: 5, bidirectional: true, output: 'last' })],
  [
    'embedding',
    { shape: ['batch', 'sequence'], dtype: 'int64' },
    'float[batch,sequence,4]',
    (s, x) => nn.embedding(s, x, { size: 9, features: 4 }).output,
  ],
  ['dropout', VECTOR, 'float[batch,8]', (s, x) => nn.dropout(s, x, 0.5)],
  ...nn.ACTIVATIONS.map((kind): Case => [kind, VECTOR, 'float[batch,8]', (s, x) => nn.activation(s, s.op('Neg', [x]), kind)]),
];

describe('every block', () => {
  it.each(CASES)('%s', async (_, input, type, block) => {
    const model = network(input, block);
    expect(formatType(model.graph.outputs[0]!.type)).toBe(type);
    // Inference of the whole agrees with the types set while building, and survives the file.
    const back = decodeModel(encodeModel(model).bytes);
    for (const m of [model, back]) {
      const report = inferShapes(m, { strict: true });
      expect([report.unknown, report.inferred]).toEqual([[], report.total]);
    }
    expect(formatType(back.graph.outputs[0]!.type)).toBe(type);
    const names = model.graph.nodes.map((n) => n.name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => !name.startsWith('block') && !name.startsWith('scalar'))).toEqual([]);
    const feeds = await randomFeeds(model, { batch: 3, size: 9 });
    const { y } = await run(model, feeds);
    expect(y!.dims[0]).toBe(3);
    const values = y!.floats();
    expect(values.every(Number.isFinite)).toBe(true);
    expect(values.some((v) => v !== values[0])).toBe(true);
    expect(encodeModel(network(input, block)).bytes).toEqual(encodeModel(model).bytes);
  });
});

test('linear is x W + b', async () => {
  const model = network(VECTOR, (s, x) => nn.linear(s, x, { features: 3 }));
  const x = randomTensor([2, 8]);
  const { y } = await run(model, { x });
  const w = weights(model, 'block.weight');
  const [a, out] = [x.floats(), y!.floats()];
  for (let i = 0; i < 2; i++)
    for (let j = 0; j < 3; j++) {
      let sum = 0;
      for (let k = 0; k < 8; k++) sum += a[i * 8 + k]! * w[k * 3 + j]!;
      expect(out[i * 3 + j]).toBeCloseTo(sum, 5);
    }
});

test('LoRA starts as the frozen layer, whose weights are marked in the file', async () => {
  const model = network(VECTOR, (s, x) => nn.loraLinear(s, x, { features: 5, rank: 2, alpha: 6 }));
  const plain = network(VECTOR, (s, x) => nn.linear(s, x, { features: 5 }));
  const x = randomTensor([4, 8]);
  const [a, b] = [await run(model, { x }), await run(plain, { x })];
  expect(Array.from(a.y!.floats())).toEqual(Array.from(b.y!.floats()));
  const back = decodeModel(encodeModel(model).bytes);
  expect(nn.countTrainable(back)).toBe(8 * 2 + 2 * 5);
  expect(back.graph.value('block.weight')!.metadata?.get(nn.TRAINABLE_KEY)).toBe('false');
  // With B no longer 0 the update is alpha / rank times (x A) B.
  const bValue = back.graph.value('block.lora_b')!;
  back.graph.setInitializer(bValue, Tensor.from('float', [2, 5], new Array<number>(10).fill(0.5)));
  const moved = (await run(back, { x })).y!.floats();
  const lora = weights(back, 'block.lora_a');
  const first =
    b.y!.floats()[0]! +
    3 *
      [0, 1].reduce(
        (sum, r) =>
          sum +
          0.5 *
            x
              .floats()
              .slice(0, 8)
              .reduce((t, v, k) => t + v * lora[k * 2 + r]!, 0),
        0,
      );
  expect(moved[0]).toBeCloseTo(first, 4);
});

test('shortcut A keeps every second pixel, new channels are 0 on both sides', async () => {
  const model = network({ shape: ['batch', 2, 4, 4] }, (s, x) =>
    nn.residualBlock(s, x, { channels: 4, stride: 2, shortcut: 'A', gain: 0 }),
  );
  const x = randomTensor([1, 2, 4, 4]);
  const out = (await run(model, { x })).y!.floats();
  const expected = [0, 1, 2, 3].flatMap((c) =>
    [0, 1].flatMap((i) => [0, 1].map((j) => (c === 0 || c === 3 ? 0 : Math.max(0, x.floats()[(c - 1) * 16 + i * 8 + j * 2]!)))),
  );
  expect(Array.from(out)).toEqual(expected);
});

/** Attention by its definition; weights by layer name, `mask` added to the scores. */
function attentionReference(
  model: Model,
  x: Float32Array,
  n: number,
  hidden: number,
  heads: number,
  mask: (q: number, k: number) => number,
): number[] {
  const project = (rows: ArrayLike<number>, layer: string) => {
    const w = weights(model, `block.${layer}.weight`);
    const b = weights(model, `block.${layer}.bias`);
    return Array.from({ length: n * hidden }, (_, at) => {
      const [i, j] = [Math.floor(at / hidden), at % hidden];
      let sum = b[j]!;
      for (let k = 0; k < hidden; k++) sum += rows[i * hidden + k]! * w[k * hidden + j]!;
      return sum;
    });
  };
  const [q, k, v] = [project(x, 'query'), project(x, 'key'), project(x, 'value')];
  const size = hidden / heads;
  const context = new Array<number>(n * hidden).fill(0);
  for (let h = 0; h < heads; h++)
    for (let i = 0; i < n; i++) {
      const scores = Array.from({ length: n }, (_, j) => {
        let dot = 0;
        for (let d = 0; d < size; d++) dot += q[i * hidden + h * size + d]! * k[j * hidden + h * size + d]!;
        return Math.exp(dot / Math.sqrt(size) + mask(i, j));
      });
      const total = scores.reduce((a, b) => a + b, 0);
      for (let j = 0; j < n; j++)
        for (let d = 0; d < size; d++) context[i * hidden + h * size + d]! += (scores[j]! / total) * v[j * hidden + h * size + d]!;
    }
  return project(context, 'output');
}

describe('attention', () => {
  const [n, hidden, heads] = [5, 8, 2];
  const expectClose = (actual: ArrayLike<number>, expected: readonly number[]) =>
    expected.forEach((e, i) => {
      expect(actual[i]).toBeCloseTo(e, 5);
    });

  it('is that of the definition', async () => {
    const model = network(SEQUENCE, (s, x) => nn.multiHeadAttention(s, x, { heads }));
    const x = randomTensor([1, n, hidden]);
    expectClose(
      (await run(model, { x })).y!.floats(),
      attentionReference(model, x.floats(), n, hidden, heads, () => 0),
    );
  });

  it('with a causal mask looks back only', async () => {
    const model = network(SEQUENCE, (s, x) =>
      nn.multiHeadAttention(s, x, { heads, mask: nn.causalMask(s.at('mask'), nn.positions(s.at('positions'), x)) }),
    );
    const x = randomTensor([1, n, hidden]);
    const causal = (q: number, k: number) => (k > q ? Number.NEGATIVE_INFINITY : 0);
    expectClose((await run(model, { x })).y!.floats(), attentionReference(model, x.floats(), n, hidden, heads, causal));
  });

  it('fused is the same function of the joined weights', async () => {
    const separate = network(SEQUENCE, (s, x) => nn.multiHeadAttention(s, x, { heads }));
    const fused = network(SEQUENCE, (s, x) => nn.multiHeadAttention(s, x, { heads, fused: true }));
    const parts = ['query', 'key', 'value'].map((name) => weights(separate, `block.${name}.weight`));
    const joined = Array.from({ length: hidden }, (_, i) => parts.flatMap((w) => w.slice(i * hidden, (i + 1) * hidden))).flat();
    const put = (name: string, tensor: Tensor) => fused.graph.setInitializer(fused.graph.value(name)!, tensor);
    put('block.qkv.weight', Tensor.from('float', [hidden, 3 * hidden], joined));
    put('block.output.weight', separate.graph.value('block.output.weight')!.initializer!);
    const x = randomTensor([2, n, hidden]);
    expectClose((await run(fused, { x })).y!.floats(), Array.from((await run(separate, { x })).y!.floats()));
  });

  it('with a padding mask answers what it answers without the padding', async () => {
    const model = nn.buildNetwork('m', (scope) => {
      const x = scope.input('x', 'float', ['batch', 'sequence', hidden]);
      const mask = nn.paddingMask(scope.at('mask'), scope.input('attention_mask', 'int64', ['batch', 'sequence']));
      scope.output(nn.encoderBlock(scope.at('block'), x, { heads, mask }), 'y');
    });
    const x = randomTensor([1, n, hidden]);
    const short = Tensor.from('float', [1, 3, hidden], x.floats().slice(0, 3 * hidden));
    const padded = await run(model, { x, attention_mask: Tensor.from('int64', [1, n], [1, 1, 1, 0, 0]) });
    const alone = await run(model, { x: short, attention_mask: Tensor.from('int64', [1, 3], [1, 1, 1]) });
    expectClose(padded.y!.floats(), Array.from(alone.y!.floats()));
  });

  it('reads keys and values from memory of another length', async () => {
    const model = nn.buildNetwork('m', (scope) => {
      const x = scope.input('x', 'float', ['batch', 'sequence', hidden]);
      const memory = scope.input('memory', 'float', ['batch', 'source', hidden]);
      scope.output(nn.decoderBlock(scope.at('block'), x, { heads, memory }), 'y');
    });
    const x = randomTensor([2, 3, hidden]);
    const [a, b] = await Promise.all([1, 2].map((seed) => run(model, { x, memory: randomTensor([2, 7, hidden], seed) })));
    expect(a!.y!.dims).toEqual([2, 3, hidden]);
    expect(a!.y!.floats()).not.toEqual(b!.y!.floats());
  });
});

test('the last state of a recurrent layer is the end of its sequence', async () => {
  for (const layer of [nn.lstm, nn.gru]) {
    const model = network(SEQUENCE, (s, x) => layer(s, x, { hidden: 5, output: 'last' }));
    const all = network(SEQUENCE, (s, x) => layer(s, x, { hidden: 5 }));
    const x = randomTensor([2, 4, 8]);
    const [last, sequence] = [(await run(model, { x })).y!.floats(), (await run(all, { x })).y!.floats()];
    expect(Array.from(last)).toEqual([...sequence.slice(15, 20), ...sequence.slice(35, 40)]);
  }
});

test('the forget gate starts open', () => {
  const model = network(SEQUENCE, (s, x) => nn.lstm(s, x, { hidden: 2, bidirectional: true }));
  const gate = [0, 0, 0, 0, 1, 1, 0, 0, ...new Array<number>(8).fill(0)];
  expect(weights(model, 'block.bias')).toEqual([...gate, ...gate]);
});

describe('mistakes', () => {
  const of = (input: Input, block: (scope: Scope, x: Value) => Value) => () => network(input, block);
  it.each([
    [
      'one scope for two layers',
      of(VECTOR, (s, x) => nn.linear(s, nn.linear(s, x, { features: 8 }), { features: 8 })),
      /"block.weight" exists already/,
    ],
    [
      'heads that do not divide',
      of(SEQUENCE, (s, x) => nn.multiHeadAttention(s, x, { heads: 3 })),
      /heads: expected a divisor of hidden size 8, got 3/,
    ],
    ['groups that do not divide', of(IMAGE, (s, x) => nn.conv(s, x, { channels: 4, groups: 4 })), /groups: expected a divisor of 6 and 4/],
    [
      'vectors where pictures belong',
      of(VECTOR, (s, x) => nn.conv(s, x, { channels: 4 })),
      /expected \[batch, channels, ...space\], got \[batch,8\]/,
    ],
    [
      'an open number of features',
      of({ shape: ['batch', 'n'] }, (s, x) => nn.linear(s, x, { features: 4 })),
      /"block": expected a fixed number of features/,
    ],
    ['rank 0', of(VECTOR, (s, x) => nn.lowRankLinear(s, x, { features: 4, rank: 0 })), /rank: expected a whole number above 0, got 0/],
    ['a rate of 1', of(VECTOR, (s, x) => nn.dropout(s, x, 1)), /rate in \[0, 1\), got 1/],
    ['fewer channels by A', of(IMAGE, (s, x) => nn.residualBlock(s, x, { channels: 4, shortcut: 'A' })), /expected at least 6 channels/],
    ['sizes that do not add up', of(VECTOR, (s, x) => s.op('Add', [x, nn.linear(s, x, { features: 5 })])), /E_SHAPE|expected|broadcast/],
  ])('%s', (_, build, message) => {
    expect(build).toThrow(message);
  });
});
