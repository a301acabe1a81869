import { expect, test } from 'vitest';
import { Builder, buildModel } from '../ir/builder.js';
import { Graph } from '../ir/graph.js';
import { modelCost } from './cost.js';
import { inferShapes, specializeShapes } from './shapes.js';

const perceptron = () =>
  buildModel('mlp', (b) => {
    const x = b.input('x', 'float', ['batch', 'features']);
    const w = b.floats('w', [64, 10], new Float32Array(640));
    b.output(b.op('Relu', [b.op('Gemm', [x, w])], {}, { name: 'act' }), 'y');
  });

test('MACs, parameters and bytes at the default sizes', () => {
  const model = perceptron();
  const cost = modelCost(model);
  expect(cost.symbols).toEqual({ batch: 1, features: 64 });
  expect(cost.macs).toBe(64 * 10);
  expect(cost.params).toBe(640);
  expect(cost.weightBytes).toBe(2560);
  expect(cost.bytesByDtype).toEqual({ float: 2560 });
  expect(cost.byNode.map((r) => [r.node.opType, r.macs, r.params, r.outputBytes])).toEqual([
    ['Gemm', 640, 640, 40],
    ['Relu', 0, 0, 40],
  ]);
  expect(cost.unknown).toEqual([]);
  expect(cost.byNode[0]!.node).toBe(model.graph.nodes[0]);
  expect(model.graph.inputs[0]!.type).toMatchObject({ shape: ['batch', 'features'] });
});

test('sizes can be given by symbol or by input', () => {
  expect(modelCost(perceptron(), { symbols: { batch: 8 } }).macs).toBe(8 * 640);
  expect(modelCost(perceptron(), { inputShapes: { x: [4, 64] } }).macs).toBe(4 * 640);
  expect(() => modelCost(perceptron(), { inputShapes: { z: [4] } })).toThrow('no input "z"');
  expect(() => modelCost(perceptron(), { inputShapes: { x: [4] } })).toThrow('expected [batch,features], got [4]');
});

test('a reshape needs no memory of its own; the peak is where most is alive', () => {
  const model = buildModel('peak', (b) => {
    const x = b.input('x', 'float', [1, 4]);
    const big = b.op('Expand', [x, b.ints('s', [256, 4])]);
    const flat = b.op('Reshape', [big, b.ints('f', [-1])]);
    b.output(b.op('ReduceSum', [b.op('Neg', [flat], {}, { name: 'neg' }), b.ints('a', [0])], { keepdims: 0 }), 'y');
  });
  const cost = modelCost(model);
  expect(cost.peakActivationBytes).toBe(16 + 4096 + 4096);
  expect(cost.peakNode?.opType).toBe('Neg');
});

test('loops count their iterations; of two branches the dearer counts', () => {
  const product = (b: Builder) =>
    b.output(b.op('MatMul', [b.floats('p', [2, 3], [1, 2, 3, 4, 5, 6]), b.floats('q', [3, 2], [1, 2, 3, 4, 5, 6])]));
  const model = buildModel('control', (b) => {
    const body = new Graph('body', b.graph);
    const inner = new Builder(body);
    inner.input('i', 'int64', []);
    const go = inner.input('go', 'bool', []);
    inner.output(inner.op('Identity', [go]));
    product(inner);
    b.output(b.op('Loop', [b.scalar('trips', 'int64', 5), null], { body: { type: 'graph', value: body } }), 'many');
    const [yes, no] = [new Graph('yes', b.graph), new Graph('no', b.graph)];
    product(new Builder(yes));
    const cheap = new Builder(no);
    cheap.output(cheap.floats('c', [2, 2], [1, 2, 3, 4]));
    const branches = { then_branch: { type: 'graph', value: yes }, else_branch: { type: 'graph', value: no } } as const;
    b.output(b.op('If', [b.input('c', 'bool', [])], branches), 'one');
  });
  const cost = modelCost(model);
  expect(cost.macs).toBe(5 * 12 + 12);
  expect(cost.notes).toHaveLength(1);
});

test('unknown operators keep what the file says and are listed', () => {
  const model = buildModel('custom', (b) => {
    const y = b.op('Mystery', [b.input('x', 'float', ['n', 3])], {}, { domain: 'my.domain' });
    y.type = { kind: 'tensor', dtype: 'float', shape: ['n', 5] };
    b.output(b.op('Neg', [y]), 'z');
  });
  const report = inferShapes(model);
  expect(report.unknown.map((u) => [u.op, u.reason])).toEqual([['my.domain.Mystery', 'the operator is not known']]);
  expect(model.graph.outputs[0]!.type).toMatchObject({ dtype: 'float', shape: ['n', 5] });
});

test('stale claims lose with a note, or are an error when strict', () => {
  const build = () => {
    const model = perceptron();
    model.graph.outputs[0]!.type = { kind: 'tensor', dtype: 'float', shape: ['batch', 12] };
    return model;
  };
  const model = build();
  const { conflicts } = inferShapes(model);
  expect(conflicts.map((c) => c.value.name)).toEqual(['y']);
  expect(model.graph.outputs[0]!.type).toMatchObject({ shape: ['batch', 10] });
  expect(() => inferShapes(build(), { strict: true })).toThrow('expected float[batch,10], got float[batch,12]');
});

test('contradictions name operator, node, input, expected and actual', () => {
  const model = buildModel('wrong', (b) => {
    b.output(b.op('Add', [b.input('x', 'float', [2, 3]), b.floats('w', [4], [1, 2, 3, 4])], {}, { name: 'sum' }), 'y');
  });
  expect(() => inferShapes(model, { strict: true })).toThrow(/^Add "sum" input 1 \("w"\): expected .*, got \[4\]$/);
  expect(inferShapes(model).unknown[0]!.reason).toContain('expected');
});

test('specializing fixes symbols everywhere', () => {
  const model = perceptron();
  specializeShapes(model, { batch: 7, x: [7, 64] });
  expect(model.graph.outputs[0]!.type).toMatchObject({ shape: [7, 10] });
  expect(() => specializeShapes(perceptron(), { bach: 7 })).toThrow('no symbolic dimension "bach": expected one of "batch", "features"');
  expect(() => specializeShapes(perceptron(), { x: [2, 2], batch: 3 })).toThrow('expected');
});

test('local functions are inferred for each call', () => {
  const model = buildModel(
    'calls',
    (b) => {
      const twice = (x: ReturnType<Builder['input']>, name: string) => b.op('Twice', [x], { axis: 1 }, { domain: 'local', name });
      b.output(twice(b.input('p', 'float', ['n', 3]), 'a'), 'y');
      b.output(twice(b.input('q', 'float16', [2, 'm']), 'b'), 'z');
    },
    { opsets: { local: 1 } },
  );
  const body = new Graph('Twice');
  const inner = new Builder(body);
  const x = body.addInput('x');
  inner.output(inner.op('Concat', [x, x], { axis: { type: 'ref', ref: 'axis', of: 'int' } }));
  model.functions.push({
    name: 'Twice',
    domain: 'local',
    overload: '',
    graph: body,
    attributes: ['axis'],
    attributeDefaults: new Map(),
    opsets: new Map([['', 21]]),
  });
  const report = inferShapes(model);
  expect(report.unknown).toEqual([]);
  expect(model.graph.outputs.map((v) => v.type)).toMatchObject([
    { dtype: 'float', shape: ['n', 6] },
    { dtype: 'float16', shape: [2, '2*m'] },
  ]);
  expect(x.type).toBeUndefined();
});

test('nested calls that multiply end in a bounded time', () => {
  const depth = 40;
  const model = buildModel('bomb', (b) => void b.output(b.op('F0', [b.input('x', 'float', [2])], {}, { domain: 'local' }), 'y'), {
    opsets: { local: 1 },
  });
  for (let i = 0; i < depth; i++) {
    const body = new Graph(`F${i}`);
    const inner = new Builder(body);
    const x = body.addInput('x');
    const next = (v: typeof x) => (i === depth - 1 ? inner.op('Neg', [v]) : inner.op(`F${i + 1}`, [v], {}, { domain: 'local' }));
    inner.output(next(next(x)));
    const opsets = new Map([
      ['', 21],
      ['local', 1],
    ]);
    model.functions.push({
      name: `F${i}`,
      domain: 'local',
      overload: '',
      graph: body,
      attributes: [],
      attributeDefaults: new Map(),
      opsets,
    });
  }
  const report = inferShapes(model);
  expect(report.unknown.map((u) => u.op)).toEqual(['local.F0']);
}, 20_000);
