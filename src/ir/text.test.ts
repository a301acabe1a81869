import { describe, expect, it } from 'vitest';
import { describeModel, describeTensor } from '../../tests/model-equality.js';
import { PareError } from '../errors.js';
import { DTYPES, type DType } from './dtype.js';
import { Tensor } from './tensor.js';
import { parseGraph, parseModel, printModel } from './text.js';

function roundTrip(text: string) {
  const model = parseModel(text);
  const printed = printModel(model);
  expect(describeModel(parseModel(printed))).toEqual(describeModel(model));
  expect(printModel(parseModel(printed))).toBe(printed);
  return model;
}

describe('ONNX text', () => {
  it('reads a model without header', () => {
    const model = roundTrip(`
      g (float[N,3] x) => (float[N,4] y) <float[3,4] w = {1,2,3,4, 5,6,7,8, 9,10,11,12.5}> {
        y = MatMul(x, w)
      }`);
    expect(model.opset).toBe(21);
    expect(model.graph.inputs[0]!.type).toEqual({ kind: 'tensor', dtype: 'float', shape: ['N', 3] });
    const [node] = model.graph.nodes;
    expect(node!.opType).toBe('MatMul');
    expect(Array.from(node!.input(1)!.initializer!.floats())).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12.5]);
    expect(model.graph.outputs[0]!.producer).toBe(node);
  });

  it('reads header, labels, domains, comments and attributes of every kind', () => {
    const model = roundTrip(`
      # a comment
      <ir_version: 9, opset_import: ["" : 17, "com.microsoft" : 1], producer_name: "test", model_version: 3,
       doc_string: "two\\nlines", metadata_props: ["a key": "a value", "b": ""]>
      g (float[1,3,8,8] x, int64[2] "odd name/0") => (float[1,?,"2*n+1",8] y, float[] z, float s)
      {
        [conv_1] t = com.microsoft.FusedConv <activation = "Relu", kernel_shape = [3, 3], alpha = 1.0, big = 9223372036854775807> (x, x)
        y, , u = Op <f = [0.5, -1.5e-3], s = ["a", "b"], none: ints = [], t = int8[2,2] {1, -2, 3, 4}, named = float[1] w {2.5},
                     tp: type_proto = seq(map(int64, float[N]))> (t, , "odd name/0")   // two outputs, one omitted
        z = Identity(u) <late = 1>
        s = Neg (u)
      }`);
    const [conv, op, late] = model.graph.nodes;
    expect([conv!.name, conv!.domain, conv!.opType]).toEqual(['conv_1', 'com.microsoft', 'FusedConv']);
    expect(conv!.ints('kernel_shape')).toEqual([3, 3]);
    expect(conv!.attribute('big')).toMatchObject({ type: 'int', value: 2n ** 63n - 1n });
    expect(op!.inputs.map((v) => v?.name)).toEqual(['t', undefined, 'odd name/0']);
    expect(op!.outputs.map((v) => v?.name)).toEqual(['y', undefined, 'u']);
    expect(op!.floats('f')).toEqual([0.5, Math.fround(-1.5e-3)]);
    expect(op!.attribute('none')).toMatchObject({ type: 'ints', value: [] });
    expect(op!.tensor('named')!.extra!.name).toBe('w');
    expect(late!.int('late')).toBe(1);
    expect(model.graph.outputs.map((o) => o.type)).toEqual([
      { kind: 'tensor', dtype: 'float', shape: [1, null, '2*n+1', 8] },
      { kind: 'tensor', dtype: 'float', shape: null },
      { kind: 'tensor', dtype: 'float', shape: [] },
    ]);
    expect(model.metadata.get('a key')).toBe('a value');
  });

  it('connects what subgraphs capture, and reads functions with parameters', () => {
    const model = roundTrip(`
      <ir_version: 10, opset_import: ["" : 21, "local" : 1]>
      g (bool c, float[2] x) => (float[2] y, float[2] z) {
        y = If (c) <
          then_branch = t () => (float[2] a) <float[2] k = {1, 2}> { a = Add(x, k) },
          else_branch = e () => (float[2] b) { b = Neg(x) }>
        z = local.scaled:fast <alpha = 2.0> (x)
      }
      <domain: "local", opset_import: ["" : 21], overload: "fast">
      scaled <beta, alpha: float = 1.0> (x) => (y) <float[] t> {
        t = Constant <value_float: float = @alpha> ()
        y = Mul(x, t)
      }`);
    const x = model.graph.inputs[1]!;
    expect(x.uses.map((u) => u.node.label).sort()).toEqual(['Add(a)', 'Neg(b)', 'scaled(z)']);
    const f = model.functionOf(model.graph.nodes[1]!)!;
    expect(f.attributes).toEqual(['beta']);
    expect(f.graph.nodes[0]!.attribute('value_float')).toMatchObject({ type: 'ref', ref: 'alpha', of: 'float' });
    expect(f.attributeDefaults.get('alpha')).toMatchObject({ type: 'float', value: 1 });
  });

  it('keeps defaults of inputs, sparse constants and bytes in strings', () => {
    const model = roundTrip(`
      g (float[N] x, float[2] d = {1, 2}, float[M] e) => (float[N] y)
      <float[3] e = {1, 2, 3}, sparse_tensor(float[2,3]) s = {float[2] {1, -0.0}, int64[2] {0, 5}}> {
        y = Op <b = bytes("ff00"), g = [a () => (p) { p = Neg(x) }, b () => (q) { q = Abs(x) }]> (x, d, e, s)
      }`);
    const value = (name: string) => model.graph.value(name)!;
    expect(value('d').isGraphInput && value('d').initializer!.size).toBe(2);
    expect(value('e').type).toEqual({ kind: 'tensor', dtype: 'float', shape: ['M'] });
    expect(value('e').initializer!.dims).toEqual([3]);
    expect(value('s').sparse!.dims).toEqual([2, 3]);
    expect(model.graph.nodes[0]!.attribute('b')).toMatchObject({ value: Uint8Array.of(255, 0) });
  });

  it('makes content where asked to, the same each time', () => {
    const text =
      'g (float[4] x) => (y) <float[4] a = random, float[4] b = random(0.5), int8[3] c = random(7), float[2,2] o = fill(1.5)> { y = Op(x, a, b, c, o) }';
    const model = parseModel(text);
    const numbers = (name: string) => Array.from(model.graph.value(name)!.initializer!.numbers());
    expect(numbers('o')).toEqual([1.5, 1.5, 1.5, 1.5]);
    expect(numbers('a')).not.toEqual(numbers('b'));
    expect(numbers('b').every((x) => Math.abs(x) <= 0.5)).toBe(true);
    expect(numbers('c').every((x) => x >= 0 && x < 7)).toBe(true);
    expect(describeModel(parseModel(text))).toEqual(describeModel(model));
  });

  it('accepts types on outputs and graphs without any', () => {
    const graph = parseGraph('g (x) => (y) { float[N,2] t = Relu(x) y = Neg(t) }');
    expect(graph.value('t')!.type).toEqual({ kind: 'tensor', dtype: 'float', shape: ['N', 2] });
    expect(graph.inputs[0]!.type).toBeUndefined();
  });

  it.each(Object.keys(DTYPES) as DType[])('prints every value of %s so that it reads back', (dtype) => {
    const { bits } = DTYPES[dtype];
    const count = dtype === 'string' ? 3 : 24;
    const bytes = new Uint8Array((count * bits) / 8);
    for (let i = 0; i < bytes.length; i++) bytes[i] = dtype === 'bool' ? i % 2 : (i * 37 + 11) % 251;
    const tensor = dtype === 'string' ? Tensor.strings([3], ['a', 'ü"\\\n', '']) : new Tensor(dtype, [2, 12], bytes);
    const model = parseModel('g (x) => (y) <float[1] w = {0}> { y = Op(x, w) }');
    model.graph.setInitializer(model.graph.value('w')!, tensor);
    const again = parseModel(printModel(model)).graph.value('w')!.initializer!;
    if (DTYPES[dtype].kind === 'float') expect(Array.from(again.numbers())).toEqual(Array.from(tensor.numbers()));
    else expect(describeTensor(again)).toEqual(describeTensor(tensor));
  });

  it('prints floats that are no numbers', () => {
    const model = parseModel('g (x) => (y) <float[4] w = {inf, -inf, nan, -0.0}> { y = Op <f = [inf, -inf], n = nan> (x, w) }');
    const again = parseModel(printModel(model));
    expect(Array.from(again.graph.value('w')!.initializer!.floats())).toEqual([Infinity, -Infinity, NaN, -0]);
    expect(again.graph.nodes[0]!.floats('f')).toEqual([Infinity, -Infinity]);
    expect(again.graph.nodes[0]!.float('n')).toBeNaN();
  });

  it('shortens long tensors on request', () => {
    const model = parseModel('g (x) => (y) <float[100] w = random> { y = Op(x, w) }');
    expect(printModel(model, { maxElements: 2 })).toMatch(/float\[100\] w = \{[-\d.e]+, [-\d.e]+, \.\.\.\}/);
  });

  it.each([
    ['g (float[2] x) => (y) {\n  y = Relu(x\n}', 'line 3, column 1: expected "," or ")", got "}"'],
    ['g (float[2] x) = (y) {}', 'line 1, column 16: expected "=>", got "="'],
    ['g (x) => (y) <float[2] w = {1, 2, 3}> { y = Op(w) }', 'line 1, column 28: tensor float[2]: expected 8 bytes, got 12 bytes'],
    ['g (x) => (y) <int8[1] w = {300}> { y = Op(w) }', 'line 1, column 27: expected int8 values from -128 to 127, got 300'],
    ['g (x) => (y) <float[N] w = {1}> { y = Op(w) }', 'line 1, column 28: constant "w" needs a tensor type with known dimensions'],
    ['g (x) => (y) { y = Op <a: integer = 1> (x) }', 'line 1, column 27: expected the type of an attribute'],
    ['g (x) => (y) { y = Op <a = [1, "b"]> (x) }', 'line 1, column 28: a list holds both int and string'],
    ['g (x) => (y) { y = Op <a = "b> (x) }', 'line 1, column 28: a string does not end'],
    ['g (x) => (y) { y = Op <a = @b> (x) }', 'line 1, column 28: the reference "a = @b" needs a type'],
    ['g (x) => (y) { y = Op(x) } }', 'line 1, column 28: expected the name of a function, got "}"'],
    ['<colour: 1> g (x) => (y) {}', 'line 1, column 2: expected a model property'],
    ['g (x) => (y) { y = Op(x) ; }', 'line 1, column 26: unexpected character ";"'],
  ])('says where the mistake is: %s', (text, message) => {
    const error = (() => {
      try {
        parseModel(text);
      } catch (e) {
        return e as PareError;
      }
      return undefined;
    })();
    expect(error).toBeInstanceOf(PareError);
    expect(error!.code).toBe('E_FORMAT');
    expect(error!.message).toContain(message);
  });

  it('refuses names that nothing produces', () => {
    expect(() => parseModel('g (x) => (y) { y = Relu(z) }')).toThrow(/input of node "Relu" is "z", which nothing in the model produces/);
    expect(() => parseModel('g (x) => (y) { }')).toThrow(/output of graph "g" is "y"/);
  });
});
