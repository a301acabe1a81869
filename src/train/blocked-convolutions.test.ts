// Depthwise convolutions in blocks of channels answer what the plain layout does. A convolution that is itself an output stays plain.
import { describe, expect, it } from 'vitest';
import { buildModel } from '../ir/builder.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { nodeEngine } from '../node/index.js';
import { openSession } from '../runtime/session.js';
import { Rng } from '../util/rng.js';
import { blockConvolutions } from './blocked-convolutions.js';
import { differentiate } from './gradient.js';

interface Shape {
  readonly maps: readonly [number, number, number, number];
  readonly kernel: readonly [number, number];
  readonly attributes?: Record<string, number | number[]>;
}

const rng = new Rng(3);
const noise = (dims: readonly number[]) =>
  Tensor.from(
    'float',
    dims,
    Array.from({ length: dims.reduce((n, d) => n * d, 1) }, () => rng.normal()),
  );

/** Two depthwise convolutions in a row, the first with a bias. */
function network({ maps, kernel, attributes = {} }: Shape): Model {
  const [, channels] = maps;
  return buildModel('depthwise', (b) => {
    const x = b.input('x', 'float', maps);
    const first = b.op('Conv', [x, b.constant('w', noise([channels, 1, ...kernel])), b.constant('bias', noise([channels]))], {
      group: channels,
      kernel_shape: [...kernel],
      ...attributes,
    });
    const second = b.op('Conv', [first, b.constant('v', noise([channels, 1, 1, 3]))], { group: channels, pads: [0, 1, 0, 1] });
    b.output(b.op('Tanh', [second]), 'y');
  });
}

/** Loss and gradients of parameters and input. */
async function gradients(model: Model, x: Tensor, channelBlock: number) {
  const grads = differentiate(model, {
    loss: (b, { y }) => b.op('ReduceMean', [b.mul(y!, y!)], { keepdims: 0 }),
    inputs: ['x'],
    parametersAsInputs: false,
    outputs: [],
    channelBlock,
  });
  const graph = channelBlock > 0 ? blockConvolutions(grads.model, channelBlock) : grads.model;
  const session = await openSession(await nodeEngine(), graph, { threads: 1 });
  const results = await session.run({ x });
  await session.release();
  const blocked = graph.graph.nodes.filter((n) => n.domain === 'com.microsoft.nchwc' && n.opType === 'Conv').length;
  return { results, blocked };
}

describe('blocked depthwise convolutions', () => {
  it.each<[string, Shape, number]>([
    ['3x3, padded', { maps: [2, 32, 9, 7], kernel: [3, 3], attributes: { pads: [1, 1, 1, 1] } }, 5],
    ['3x3, every second', { maps: [3, 16, 8, 8], kernel: [3, 3], attributes: { pads: [1, 1, 1, 1], strides: [2, 2] } }, 5],
    ['3x3, every second, odd', { maps: [2, 16, 9, 7], kernel: [3, 3], attributes: { pads: [0, 1, 1, 0], strides: [2, 2] } }, 5],
    ['5x3, unpadded', { maps: [1, 48, 9, 8], kernel: [5, 3] }, 5],
    ['3x3, dilated', { maps: [2, 16, 10, 11], kernel: [3, 3], attributes: { pads: [2, 1, 2, 1], dilations: [2, 1] } }, 5],
    ['channels that fill no block', { maps: [2, 20, 8, 8], kernel: [3, 3] }, 0],
  ])('answers the gradients of the plain layout: %s', async (_, shape, expected) => {
    const block = await (await nodeEngine()).channelBlock?.();
    if (block === undefined) return;
    const model = network(shape);
    const x = noise(shape.maps);
    const plain = await gradients(model, x, 0);
    const fast = await gradients(model, x, block);
    expect(plain.blocked).toBe(0);
    expect(fast.blocked).toBe(expected);
    expect(Object.keys(fast.results).sort()).toEqual(Object.keys(plain.results).sort());
    for (const [name, tensor] of Object.entries(plain.results)) {
      const [a, b] = [[...tensor.numbers()], [...fast.results[name]!.numbers()]];
      const largest = Math.max(...a.map(Math.abs));
      expect(largest).toBeGreaterThan(0);
      expect(Math.max(...a.map((v, i) => Math.abs(v - b[i]!))) / largest).toBeLessThan(1e-5);
    }
  });
});
