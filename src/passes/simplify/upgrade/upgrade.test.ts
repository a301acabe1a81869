import { describe, expect, it } from 'vitest';
import { tensorTypeOf } from '../../../ir/model.js';
import { Tensor } from '../../../ir/tensor.js';
import { parseModel } from '../../../ir/text.js';
import { cloneModel } from '../../../ir/walk.js';
import { nodeEngine } from '../../../node/engine.js';
import { openSession } from '../../../runtime/session.js';
import { Rng } from '../../../util/rng.js';
import { upgradeOpset } from './upgrade.js';

const parse = (opset: number, graph: string) => parseModel(`<ir_version: 7, opset_import: ["" : ${opset}]> g ${graph}`);

/** Forms that ONNX Runtime still runs: the upgraded model must give the same. */
const RUNNABLE: readonly (readonly [opset: number, label: string, graph: string, ops: string])[] = [
  [9, 'Slice', '(float[4,6] x) => (float[2,6] y) { y = Slice <axes = [0], starts = [1], ends = [3]> (x) }', 'Slice'],
  [8, 'Clip', '(float[4,6] x) => (float[4,6] y) { y = Clip <min = -0.5, max = 0.25> (x) }', 'Clip'],
  [9, 'Pad', '(float[4,6] x) => (float[6,6] y) { y = Pad <pads = [1,0,1,0], value = 2.5> (x) }', 'Pad'],
  [9, 'TopK', '(float[4,6] x) => (float[4,2] y, int64[4,2] i) { y, i = TopK <k = 2> (x) }', 'TopK'],
  [11, 'Split', '(float[4,6] x) => (float[4,2] y, float[4,4] z) { y, z = Split <axis = 1, split = [2,4]> (x) }', 'Split'],
  [11, 'even Split', '(float[4,6] x) => (float[4,3] y, float[4,3] z) { y, z = Split <axis = 1> (x) }', 'Split'],
  [11, 'Squeeze', '(float[4,1,6] x) => (float[4,6] y) { y = Squeeze <axes = [1]> (x) }', 'Squeeze'],
  [11, 'Unsqueeze', '(float[4,6] x) => (float[4,1,6] y) { y = Unsqueeze <axes = [1]> (x) }', 'Unsqueeze'],
  [11, 'ReduceSum', '(float[4,6] x) => (float[4] y) { y = ReduceSum <axes = [1], keepdims = 0> (x) }', 'ReduceSum'],
  [13, 'ReduceMean', '(float[4,6] x) => (float[1,6] y) { y = ReduceMean <axes = [0]> (x) }', 'ReduceMean'],
  [11, 'Softmax over the last axis', '(float[4,6] x) => (float[4,6] y) { y = Softmax <axis = 1> (x) }', 'Softmax'],
  [11, 'Softmax over ones behind', '(float[4,6,1,1] x) => (float[4,6,1,1] y) { y = Softmax <axis = 1> (x) }', 'Softmax'],
  [11, 'flattened Softmax', '(float[4,3,2] x) => (float[4,3,2] y) { y = Softmax <axis = 1> (x) }', 'Flatten Softmax Reshape'],
  [11, 'flattened LogSoftmax', '(float[A,3,2] x) => (float[A,3,2] y) { y = LogSoftmax (x) }', 'Shape Flatten LogSoftmax Reshape'],
  [9, 'Dropout', '(float[4,6] x) => (float[4,6] y) { y = Dropout <ratio = 0.3> (x) }', 'Dropout'],
  [8, 'Upsample', '(float[1,2,3,3] x) => (float[1,2,6,6] y) { y = Upsample <scales = [1.0,1.0,2.0,2.0]> (x) }', 'Resize'],
  [
    8,
    'linear Upsample',
    '(float[1,2,3,3] x) => (float[1,2,6,6] y) { y = Upsample <mode = "linear", scales = [1.0,1.0,2.0,2.0]> (x) }',
    'Resize',
  ],
  [
    10,
    'shrinking Resize',
    '(float[1,1,6,6] x) => (float[1,1,4,4] y) { s = Constant <value = float[4] {1.0,1.0,0.7,0.7}> () y = Resize (x, s) }',
    'Resize',
  ],
  [
    8,
    'BatchNormalization',
    '(float[2,3,4,4] x, float[3] s, float[3] b, float[3] m, float[3] v) => (float[2,3,4,4] y) { y = BatchNormalization (x, s, b, m, v) }',
    'BatchNormalization',
  ],
  [
    10,
    'Scatter',
    '(float[3,3] x, float[1,3] u) => (float[3,3] y) { i = Constant <value = int64[1,3] {0,2,1}> () y = Scatter (x, i, u) }',
    'ScatterElements',
  ],
  [
    16,
    'GridSample',
    '(float[1,1,4,4] x, float[1,2,2,2] g) => (float[1,1,2,2] y) { y = GridSample <mode = "bilinear"> (x, g) }',
    'GridSample',
  ],
  [
    10,
    'RoiAlign',
    '(float[1,1,8,8] x, float[1,4] r) => (float[1,1,2,2] y) { i = Constant <value = int64[1] {0}> () y = RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2> (x, r, i) }',
    'RoiAlign',
  ],
];

describe('upgradeOpset', () => {
  it.each(RUNNABLE)('opset %i: %s', async (opset, _, graph, ops) => {
    const model = parse(opset, graph);
    const upgraded = cloneModel(model);
    expect(upgradeOpset(upgraded, 21)).toEqual({ from: opset, to: 21, blocked: [] });
    expect(upgraded.opset).toBe(21);
    expect(upgraded.irVersion).toBe(10);
    expect(upgraded.graph.nodes.map((n) => n.opType).join(' ')).toBe(ops);
    const engine = await nodeEngine();
    const [a, b] = [await openSession(engine, model, { threads: 1 }), await openSession(engine, upgraded, { threads: 1 })];
    const rng = new Rng(3);
    const feeds = Object.fromEntries(
      model.graph.inputs.map((v) => {
        const dims = tensorTypeOf(v)!.shape!.map((d) => (typeof d === 'number' ? d : 2));
        const size = dims.reduce((n, d) => n * d, 1);
        return [
          v.name,
          Tensor.from(
            'float',
            dims,
            Array.from({ length: size }, () => rng.uniform() + (v.name === 'v' ? 0.5 : 0)),
          ),
        ];
      }),
    );
    const [x, y] = [await a.run(feeds), await b.run(feeds)];
    for (const [name, tensor] of Object.entries(x)) {
      expect(y[name]!.dims).toEqual(tensor.dims);
      tensor.floats().forEach((p, i) => {
        expect(y[name]!.floats()[i]).toBeCloseTo(p, 5);
      });
    }
    await Promise.all([a.release(), b.release()]);
  });

  it('lines up the axes of explicit broadcasting', () => {
    const model = parse(6, '(float[2,3,4] x, float[3] b) => (float[2,3,4] y) { y = Add <broadcast = 1, axis = 1> (x, b) }');
    expect(upgradeOpset(model, 21).blocked).toEqual([]);
    expect(model.graph.nodes.map((n) => n.opType)).toEqual(['Unsqueeze', 'Add']);
    const unsqueeze = model.graph.nodes[0]!;
    expect(Array.from(unsqueeze.input(1)!.initializer!.numbers())).toEqual([1]);
    expect([...model.graph.nodes[1]!.attributes.keys()]).toEqual([]);
  });

  it('brings the first forms up: Reshape-1, Cast-1, Concat-1, memory hints', () => {
    const model = parse(
      3,
      '(float[2,6] x) => (int32[3,8] y) { a = Reshape <shape = [3,4]> (x) b = Relu <consumed_inputs = [0]> (a) c = Concat (b, b) y = Cast <to = "INT32"> (c) }',
    );
    expect(upgradeOpset(model, 21).blocked).toEqual([]);
    const [reshape, relu, concat, cast] = model.graph.nodes;
    expect(Array.from(reshape!.input(1)!.initializer!.numbers())).toEqual([3, 4]);
    expect(relu!.attributes.size).toBe(0);
    expect(concat!.int('axis')).toBe(1);
    expect(cast!.int('to')).toBe(6);
  });

  it('names every node without an exact converter and changes nothing', () => {
    const model = parse(
      6,
      '(float[2,3,4,4] x, float[3] s, float[3] b, float[3] m, float[3] v) => (float[2,3,4,4] y) { a = Clip <max = 1.0> (x) y = BatchNormalization <is_test = 0> (a, s, b, m, v) z = NoSuchOperator (y) }',
    );
    const result = upgradeOpset(model, 21);
    expect(result.to).toBe(6);
    expect(result.blocked.map((n) => n.reason).join('; ')).toMatch(/NoSuchOperator is not known/);
    expect(model.opset).toBe(6);
    expect(model.graph.nodes[0]!.float('max')).toBe(1);
  });

  it('refuses training-mode nodes', () => {
    const model = parse(6, '(float[2,3] x) => (float[2,3] y) { y = Dropout <is_test = 0> (x) }');
    expect(upgradeOpset(model, 21).blocked[0]!.reason).toMatch(/training mode/);
  });

  it('expands group normalization to one scale for each channel', () => {
    const model = parse(
      18,
      '(float[1,4,2] x) => (float[1,4,2] y) <float[2] s = {1.0,2.0}, float[2] b = {3.0,4.0}> { y = GroupNormalization <num_groups = 2> (x, s, b) }',
    );
    expect(upgradeOpset(model, 21).blocked).toEqual([]);
    expect(Array.from(model.graph.nodes[0]!.input(1)!.initializer!.floats())).toEqual([1, 1, 2, 2]);
  });
});
