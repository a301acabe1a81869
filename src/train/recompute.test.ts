// Recomputed forward values: the same gradients to the bit, and less that waits for the backward pass, also after simplification.
import { describe, expect, it } from 'vitest';
import { runOrt } from '../../tests/oracle/ort.js';
import type { Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { verifyModel } from '../ir/verify.js';
import { createPreset } from '../nn/index.js';
import { nodeEngine } from '../node/engine.js';
import type { GradBuilder } from '../ops/grad-builder.js';
import { dimsOf } from '../ops/grad-builder.js';
import { prepareTraining } from '../recipe/prepare-training.js';
import { Rng } from '../util/rng.js';
import { type Differentiated, differentiate } from './gradient.js';
import { meanAll } from './losses.js';
import { trainingMemory } from './memory-plan.js';

const loss = (b: GradBuilder, { logits }: Readonly<Record<string, Value>>): Value => {
  expect(dimsOf(logits!).length).toBeGreaterThan(1);
  return meanAll(b, b.mul(logits!, logits!));
};

const prepare = async () => prepareTraining(await nodeEngine());

async function gradients(model: Model, shapes: Record<string, number[]>, recompute: boolean | { segments: number }) {
  const simplified = await (await prepare())(model);
  const result = differentiate(simplified, { loss, shapes, training: true, outputs: [], recompute });
  const memory = trainingMemory(result);
  const finished = await (await prepare())(result.model);
  verifyModel(finished);
  return { result, memory, finished, values: await runOrt(finished, feedsOf(result, finished)) };
}

function feedsOf(result: Differentiated, model: Model): Record<string, Tensor> {
  const stored = new Map([...result.parameters, ...result.states].map((p) => [p.name, p.data]));
  const rng = new Rng(4);
  return Object.fromEntries(
    model.graph.inputs.map(({ name, type }) => {
      const { dtype, shape } = tensorTypeOf({ type } as Value)!;
      const dims = shape as readonly number[];
      const random = () =>
        Tensor.from(
          dtype,
          dims,
          Array.from({ length: dims.reduce((n, d) => n * d, 1) }, () => (dtype === 'float' ? rng.normal() : rng.integer(2))),
        );
      return [name, stored.get(name) ?? random()];
    }),
  );
}

const count = (model: Model, op: string) => model.graph.nodes.filter((n) => n.opType === op).length;

describe('recompute', () => {
  const sizes = { vocabulary: 20, layers: 4, hidden: 16, heads: 2, positions: 8, dropout: 0.1 };
  const networks: readonly (readonly [string, () => Model, Record<string, number[]>, string])[] = [
    ['a transformer with dropout', () => createPreset('gpt-nano', sizes), { input_ids: [3, 8] }, 'Softmax'],
    [
      'a residual network with batch statistics',
      () => createPreset('resnet8', { size: 12, filters: 4 }),
      { image: [4, 3, 12, 12] },
      'Conv',
    ],
  ];

  it.each(networks)('%s', async (_, network, shapes, op) => {
    const plain = await gradients(network(), shapes, false);
    for (const recompute of [true, { segments: 3 }]) {
      const again = await gradients(network(), shapes, recompute);
      expect(again.result.recomputed!.segments).toBeGreaterThan(1);
      if (recompute !== true) expect(again.result.recomputed!.segments).toBe(3);
      expect(again.memory.activations).toBeLessThan(plain.memory.activations * 0.75);
      expect(again.memory.recomputed).toBe(again.result.recomputed!.bytes);
      expect(again.memory.total).toBeLessThanOrEqual(plain.memory.total);
      // Simplification has not merged what is computed twice.
      expect(count(again.finished, op)).toBeGreaterThan(count(plain.finished, op));
      expect(Object.keys(again.values).sort()).toEqual(Object.keys(plain.values).sort());
      for (const [name, tensor] of Object.entries(plain.values))
        expect(Buffer.compare(again.values[name]!.bytes(), tensor.bytes()), name).toBe(0);
    }
  });

  it('leaves alone what has nothing to gain', async () => {
    const model = createPreset('mlp', { sizes: [4, 3, 2] });
    const { result } = await gradients(model, { input: [2, 4] }, true);
    expect(result.recomputed).toBeUndefined();
    expect(result.model.graph.nodes.some((n) => n.name.startsWith('again'))).toBe(false);
  });
});
