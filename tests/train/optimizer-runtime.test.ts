// The optimizer beside ONNX Runtime: its buffers are read and written in place by sessions, and updates as graph nodes give the same weights.
import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { GraphInference } from '../../src/analysis/infer-graph.js';
import { buildModel } from '../../src/ir/builder.js';
import { Tensor } from '../../src/ir/tensor.js';
import { encodeModel } from '../../src/onnx/encode.js';
import { GradBuilder } from '../../src/ops/grad-builder.js';
import { updateInGraph } from '../../src/train/optimizers/in-graph.js';
import { Optimizer } from '../../src/train/optimizers/optimizer.js';
import { OPTIMIZERS } from '../../src/train/optimizers/rules.js';
import { Rng } from '../../src/util/rng.js';
import { runOrt } from '../oracle/ort.js';

test('a session reads parameters from the buffer and writes gradients into it', async () => {
  const optimizer = new Optimizer(OPTIMIZERS.sgd({}), [{ name: 'w', dims: [100] }]);
  const model = buildModel('square', (b) => {
    const w = b.input('w', 'float', [100]);
    b.output(b.op('Mul', [w, w]), 'w_grad');
  });
  const session = await ort.InferenceSession.create(encodeModel(model).bytes);
  const [w, g] = [optimizer.parameters.get('w')!, optimizer.gradients.get('w')!];
  const step = async () => {
    await session.run({ w: new ort.Tensor('float32', w, [100]) }, { w_grad: new ort.Tensor('float32', g, [100]) });
    optimizer.step(0.25);
  };
  w.fill(2);
  await step();
  expect([...new Set(w)]).toEqual([1]);
  await step();
  expect([...new Set(w)]).toEqual([0.75]);
  await session.release();
});

describe.each(Object.entries(OPTIMIZERS))('%s as graph nodes', (_name, make) => {
  test('gives the weights of the fused kernels', async () => {
    const rule = make({ lr: 0.01, weightDecay: 0.05 });
    const dims = [3, 5];
    const model = buildModel('step', (plain) => {
      plain.input('scalars', 'float', [rule.scalars({ step: 1, lr: 1, weightDecay: 0, gradientScale: 1 }).length]);
    });
    const inference = new GraphInference(model, false);
    const b = new GradBuilder(model.graph, (node) => inference.inferNode(node), '');
    const [p, g, lr] = [b.input('p', 'float', dims), b.input('g', 'float', dims), b.input('lr', 'float', [])];
    const slots = rule.slots.map((slot) => b.input(slot, 'float', dims));
    const next = updateInGraph(b, rule, p, g, slots, model.graph.inputs[0]!, lr);
    b.output(next.parameter, 'p_next');
    for (const [i, slot] of next.slots.entries()) b.output(slot, `${rule.slots[i]}_next`);

    const optimizer = new Optimizer(rule, [{ name: 'p', dims }]);
    const weights = optimizer.parameters.get('p')!;
    const rng = new Rng(1);
    for (let i = 0; i < 15; i++) weights[i] = rng.normal();
    const state = Object.fromEntries(['p', ...rule.slots].map((name) => [name, Tensor.from('float', dims, new Float32Array(15))]));
    state.p = Tensor.from('float', dims, weights);
    for (let step = 1; step <= 5; step++) {
      const gradients = Float32Array.from({ length: 15 }, () => rng.normal());
      const scalars = rule.scalars({ step, lr: 0.01, weightDecay: 0.05, gradientScale: 1 });
      const feeds = {
        ...state,
        g: Tensor.from('float', dims, gradients),
        scalars: Tensor.from('float', [scalars.length], scalars),
        lr: Tensor.scalar('float', 0.01),
      };
      const results = await runOrt(model, feeds);
      for (const name of Object.keys(state)) state[name] = results[`${name}_next`]!;
      optimizer.gradients.get('p')!.set(gradients);
      optimizer.step();
    }
    const inGraph = state.p.numbers();
    for (let i = 0; i < 15; i++) expect(Math.abs(Number(inGraph[i]) - weights[i]!)).toBeLessThan(1e-6);
  });
});
