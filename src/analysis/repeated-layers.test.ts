// Layers found by structure in transformers and residual networks, and taken out.
import { describe, expect, it } from 'vitest';
import { runOrt } from '../../tests/oracle/ort.js';
import { buildModel } from '../ir/builder.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { verifyModel } from '../ir/verify.js';
import { cloneModel } from '../ir/walk.js';
import { createPreset } from '../nn/presets/index.js';
import { keepLayers, repeatedLayers } from './repeated-layers.js';
import { inferShapes } from './shapes.js';

const layersOf = (model: Model) => {
  inferShapes(model);
  return repeatedLayers(model);
};

/** x + w_i, then half of it: numbers tell which layers are there. */
function chain(amounts: readonly number[], shapeFirst = false): Model {
  return buildModel('chain', (b) => {
    let x = b.input('x', 'float', ['batch', 2]);
    const size = shapeFirst ? b.op('Shape', [x]) : undefined;
    x = b.op('Neg', [x]);
    amounts.forEach((amount, i) => {
      const w = b.floats(`w${i}`, [2, 2], [amount, 0, 0, amount]);
      const h = b.op('MatMul', [x, w]);
      const reshaped = size ? b.op('Reshape', [h, size]) : h;
      x = b.op('Tanh', [b.op('Add', [x, reshaped])], {}, { outputs: [`layer${i}`] });
    });
    b.output(b.op('Abs', [x]), 'y');
  });
}

const run = async (model: Model) => [...(await runOrt(model, { x: Tensor.from('float', [1, 2], [0.3, -0.4]) })).y!.floats()];

describe('repeatedLayers', () => {
  it.each([
    ['bert-mini', 4, 'layer.3.feed_forward_norm_out'],
    ['gpt-nano', 6, 'layer.5.feed_forward_sum_out'],
    ['resnet20', 3, undefined],
    ['lenet5', 0, undefined],
  ])('of %s', (preset, count, last) => {
    const layers = layersOf(createPreset(preset));
    expect(layers).toHaveLength(count);
    for (const [i, layer] of layers.entries()) if (i > 0) expect(layer.input).toBe(layers[i - 1]!.output);
    if (last) expect(layers.at(-1)!.output.name).toBe(last);
  });

  it('reads through shapes that all layers share, and ends a layer behind its activation', () => {
    for (const shapeFirst of [false, true]) {
      const layers = layersOf(chain([0.1, 0.2, 0.3], shapeFirst));
      expect(layers.map((l) => l.output.name)).toEqual(['layer0', 'layer1', 'layer2']);
    }
  });
});

describe('keepLayers', () => {
  it.each([[[0, 2]], [[1]], [[0, 1, 2, 3]], [[3]]])('%j computes what a network of those layers does', async (kept) => {
    const amounts = [0.1, 0.7, -0.4, 0.3];
    const model = chain(amounts, true);
    inferShapes(model);
    expect(keepLayers(model, kept)).toBe(4);
    verifyModel(model);
    expect(await run(model)).toEqual(await run(chain(kept.map((k) => amounts[k]!))));
    expect(model.graph.initializers.filter((v) => v.name.startsWith('w'))).toHaveLength(kept.length);
  });

  it('keeps the name of an output that a layer gave', async () => {
    const model = chain([0.5, 0.6]);
    const { graph } = model;
    const abs = graph.nodes.at(-1)!;
    const last = abs.input(0)!;
    graph.removeOutput(abs.output());
    graph.removeNode(abs);
    graph.addOutput(last);
    inferShapes(model);
    keepLayers(model, [0]);
    verifyModel(model);
    expect(graph.outputs.map((v) => v.name)).toEqual(['layer1']);
  });

  it('says what it expects', () => {
    const model = chain([0.1, 0.2]);
    inferShapes(model);
    expect(() => keepLayers(cloneModel(model), [2])).toThrow(/different numbers from 0 to 1, got 2/);
    expect(() => keepLayers(cloneModel(model), [0, 0])).toThrow(/different numbers/);
    const lenet = createPreset('lenet5');
    inferShapes(lenet);
    expect(() => keepLayers(lenet, [0])).toThrow(/layers repeat, got one without/);
  });
});
