import { describe, expect, it } from 'vitest';
import { Builder, buildModel } from '../../ir/builder.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { parseModel } from '../../ir/text.js';
import { walkNodes } from '../../ir/walk.js';
import { nodeEngine } from '../../node/engine.js';
import { runPasses } from '../../pass/manager.js';
import { simplify } from './index.js';

const parse = (body: string, opset = 21, ir = 10) => parseModel(`<ir_version: ${ir}, opset_import: ["" : ${opset}]> g ${body}`);
const ops = (model: Model) => [...walkNodes(model.graph)].map((n) => n.opType);

async function run(model: Model, options: Parameters<typeof simplify>[0] = {}) {
  const { model: simple, records } = await runPasses(model, [simplify(options)], { engine: await nodeEngine() });
  return { simple, record: records[0]! };
}

describe('simplify', () => {
  it('folds through the engine what depends on constants alone', async () => {
    const { simple } = await run(
      parse('(float[2] x) => (float[2] y) <float[2] w = {1.0, 4.0}> { a = Sqrt (w) b = Exp (a) y = Mul (x, b) }'),
    );
    expect(ops(simple)).toEqual(['Mul']);
    const folded = simple.graph.nodes[0]!.input(1)!;
    expect(folded.name).toBe('b');
    expect(folded.initializer!.floats()[1]).toBeCloseTo(Math.exp(2), 5);
  });

  it('does not grow the model beyond the cap, and says so', async () => {
    const body =
      '(float[64,64] x) => (float[64,64] y) { s = Constant <value_ints = [64,64]> () c = ConstantOfShape <value = float[1] {2.5}> (s) e = Exp (c) y = Add (x, e) }';
    const { simple, record } = await run(parse(body), { maxFoldBytes: 4096 });
    expect(ops(simple)).toEqual(['ConstantOfShape', 'Exp', 'Add']);
    expect(record.skipped.map((s) => s.reason).join()).toMatch(/16384 bytes would grow the model/);
    expect(ops((await run(parse(body))).simple)).toEqual(['Add']);
  });

  it('folds what frees as much as it stores, whatever the cap', async () => {
    const model = buildModel('g', (b) => {
      const x = b.input('x', 'float', ['N', 64]);
      const w = b.constant('w', Tensor.of('float', [48, 64], new Float32Array(48 * 64).fill(0.5)));
      b.output(b.op('MatMul', [x, b.op('Transpose', [w], { perm: [1, 0] })]), 'y');
    });
    const { simple } = await run(model, { maxFoldBytes: 0 });
    expect(ops(simple)).toEqual(['MatMul']);
  });

  it('keeps a table one that is looked up and, transposed, multiplied by', async () => {
    const model = buildModel('g', (b) => {
      const ids = b.input('ids', 'int64', ['N']);
      const table = b.constant(
        'table',
        Tensor.of(
          'float',
          [50, 64],
          new Float32Array(50 * 64).map((_, i) => Math.sin(i)),
        ),
      );
      const rows = b.op('Gather', [table, ids]);
      b.output(b.op('MatMul', [b.op('Relu', [rows]), b.op('Transpose', [table], { perm: [1, 0] })]), 'y');
    });
    const { simple, record } = await run(model);
    expect(simple.graph.initializers.map((v) => v.initializer!.dims)).toEqual([[50, 64]]);
    expect(record.skipped.map((s) => s.reason).join()).toMatch(/"table" has other readers, and would be stored twice/);
    expect((await run(model, { keepTied: false })).simple.graph.initializers).toHaveLength(2);
  });

  it('never folds DequantizeLinear, nor random numbers', async () => {
    const quantized = parse(
      '(float[2] x) => (float[2] y) <int8[2] w = {1, 2}, float s = {0.5}> { d = DequantizeLinear (w, s) r = RandomNormal <shape = [2]> () a = Add (d, r) y = Mul (x, a) }',
    );
    expect(ops((await run(quantized)).simple)).toEqual(['DequantizeLinear', 'RandomNormal', 'Add', 'Mul']);
  });

  it('merges constants of equal content and keeps tied ones tied', async () => {
    const model = buildModel('g', (b: Builder) => {
      const x = b.input('x', 'float', ['N', 100]);
      const big = (name: string, last: number) =>
        b.constant(name, Tensor.of('float', [100, 100], new Float32Array(10000).fill(1).fill(last, 5000, 5001)));
      const [v, w, other] = [big('v', 3), big('w', 3), big('other', 4)];
      const y = b.op('MatMul', [b.op('MatMul', [b.op('MatMul', [b.op('MatMul', [x, v]), w]), other]), v]);
      b.output(y, 'y');
    });
    const { simple } = await run(model);
    expect(simple.graph.initializers.map((v) => v.name)).toEqual(['v', 'other']);
    expect(simple.graph.nodes.map((n) => n.input(1)!.name)).toEqual(['v', 'v', 'other', 'v']);
  });

  it('merges equal nodes, but not those that are both outputs', async () => {
    const { simple } = await run(parse('(float[2] x) => (float[2] y, float[2] z) { a = Exp (x) b = Exp (x) y = Neg (a) z = Neg (b) }'));
    expect(ops(simple)).toEqual(['Exp', 'Neg', 'Neg']);
  });

  it('inlines an If on a constant, with what the branch captures', async () => {
    const { simple } = await run(
      parse(`(float[2] x) => (float[2] y) <bool c = {1}> { e = Exp (x) r = If (c) <
        then_branch = t () => (float[2] u) { a = Neg (e) u = Abs (a) },
        else_branch = f () => (float[2] v) { v = Exp (e) }> y = Relu (r) }`),
    );
    expect(ops(simple)).toEqual(['Exp', 'Neg', 'Abs', 'Relu']);
  });

  it('drops dead nodes, unread outputs, constants and opset imports', async () => {
    const model = parse(
      '(float[1,1,4,4] x) => (float[1,1,2,2] y) <float[2] unread = {1.0, 2.0}> { d = Exp (x) y, i = MaxPool <kernel_shape = [3,3]> (x) }',
    );
    model.opsets.set('com.microsoft', 1);
    const { simple } = await run(model);
    expect(ops(simple)).toEqual(['MaxPool']);
    expect(simple.graph.nodes[0]!.outputs.length).toBe(1);
    expect(simple.graph.initializers).toEqual([]);
    expect([...simple.opsets.keys()]).toEqual(['']);
  });

  it('makes constants of inputs that old files had to list, and keeps those that are meant', async () => {
    const withDefaults = (meant: boolean) => {
      const model = parse('(float[2] x, float[2] w) => (float[2] y) { a = Mul (x, w) y = Relu (a) }');
      const w = model.graph.inputs[1]!;
      model.graph.setInitializer(w, Tensor.from('float', [2], [1, 1]));
      if (meant) {
        const k = model.graph.addInitializer('k', Tensor.from('float', [2], [2, 3]));
        model.graph.nodes[1]!.setInput(
          0,
          new Builder(model.graph, { before: model.graph.nodes[1]! }).op('Add', [model.graph.value('a')!, k]),
        );
      }
      return model;
    };
    const { simple, record } = await run(withDefaults(false));
    expect(ops(simple)).toEqual(['Relu']);
    expect(simple.graph.inputs.map((v) => v.name)).toEqual(['x']);
    expect(record.warnings[0]!.message).toMatch(/1 inputs with default values/);
    expect((await run(withDefaults(true))).simple.graph.inputs.map((v) => v.name)).toEqual(['x', 'w']);
  });

  it('stays at its opset where one node cannot be converted, and names it', async () => {
    const { simple, record } = await run(parse('(float[2,3] x) => (float[2,3] y) { a = Dropout <is_test = 0> (x) y = Relu (a) }', 6));
    expect(simple.opset).toBe(6);
    expect(record.skipped[0]).toMatchObject({ op: 'Dropout', reason: expect.stringMatching(/opset 6: .*training mode/) });
  });

  it('applies no rule that is to be skipped', async () => {
    const model = parse('(float[2] x) => (float[2] y) { a = Identity (x) y = Relu (a) }');
    expect(ops((await run(model, { skip: ['remove-identity'] })).simple)).toEqual(['Identity', 'Relu']);
  });
});
