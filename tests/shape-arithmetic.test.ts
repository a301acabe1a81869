// Shape arithmetic as exporters write it, followed through whole graphs with symbolic dimensions.
import { expect, test } from 'vitest';
import { inferShapes } from '../src/analysis/shapes.js';
import { type Builder, buildModel } from '../src/ir/builder.js';
import type { Value } from '../src/ir/graph.js';
import { formatType } from '../src/ir/type.js';

/** Type of the only output of a graph over `x: float[batch,seq,768]`. */
function outputType(fill: (b: Builder, x: Value) => Value, shape = ['batch', 'seq', 768] as (string | number)[]): string {
  const model = buildModel('m', (b) => {
    const x = b.input('x', 'float', shape);
    b.output(fill(b, x), 'y');
  });
  const report = inferShapes(model, { strict: true });
  expect(report.unknown).toEqual([]);
  return formatType(model.graph.outputs[0]!.type);
}

const axis = (b: Builder, shape: Value, i: number) => b.op('Gather', [shape, b.scalar('i', 'int64', i)]);
const list = (b: Builder, v: Value) => b.op('Unsqueeze', [v, b.ints('zero', [0])]);

test('attention heads: Shape, Gather, Div, Concat, Reshape', () => {
  const type = outputType((b, x) => {
    const shape = b.op('Shape', [x]);
    const head = b.op('Div', [axis(b, shape, 2), b.scalar('heads', 'int64', 12)]);
    const target = b.op('Concat', [list(b, axis(b, shape, 0)), list(b, axis(b, shape, 1)), b.ints('h', [12]), list(b, head)], { axis: 0 });
    return b.op('Reshape', [x, target]);
  });
  expect(type).toBe('float[batch,seq,12,64]');
});

test('an expand mask: ConstantOfShape, Mul, Equal, Where, Expand', () => {
  const type = outputType((b, x) => {
    const shape = b.op('Shape', [x]);
    const target = b.op('Concat', [list(b, axis(b, shape, 0)), b.ints('keep', [-1]), b.ints('width', [768])], { axis: 0 });
    const ones = b.op('ConstantOfShape', [b.op('Shape', [target])], { value: { type: 'tensor', value: b.ints('one', [1]).initializer! } });
    const negative = b.op('Mul', [ones, b.scalar('minus', 'int64', -1)]);
    const safe = b.op('Where', [b.op('Equal', [target, negative]), ones, target]);
    return b.op('Expand', [b.floats('row', [1, 1, 768], new Array(768).fill(0)), safe]);
  });
  expect(type).toBe('float[batch,1,768]');
});

test('sizes of an upsampling: Cast to float, Mul, Floor, Cast back', () => {
  const type = outputType(
    (b, x) => {
      const size = b.op('Slice', [b.op('Shape', [x]), b.ints('from', [2]), b.ints('to', [4]), b.ints('axes', [0])]);
      const scaled = b.op('Mul', [b.op('Cast', [size], { to: 1 }), b.floats('by', [2], [2, 1.5])]);
      const whole = b.op('Cast', [b.op('Floor', [scaled])], { to: 7 });
      const target = b.op('Concat', [b.op('Slice', [b.op('Shape', [x]), b.ints('a', [0]), b.ints('b', [2])]), whole], { axis: 0 });
      return b.op('Resize', [x, null, null, target]);
    },
    ['n', 3, 'h', 15],
  );
  expect(type).toBe('float[n,3,2*h,22]');
});

test('positions: Range, Unsqueeze, Less with broadcasting', () => {
  const type = outputType((b, x) => {
    const length = axis(b, b.op('Shape', [x]), 1);
    const steps = b.op('Range', [b.scalar('start', 'int64', 0), length, b.scalar('step', 'int64', 1)]);
    return b.op('Less', [steps, b.op('Unsqueeze', [steps, b.ints('at', [1])])]);
  });
  expect(type).toBe('bool[seq,seq]');
});

test('products and scattered entries of a shape: ReduceProd, Size, ScatterND, Split', () => {
  const type = outputType((b, x) => {
    const shape = b.op('Shape', [x]);
    const [head] = b.node('Split', [shape, b.ints('parts', [2, 1])], {}, { outputs: ['head', 'tail'] }).outputs;
    const rows = b.op('ReduceProd', [head!, b.ints('all', [0])], { keepdims: 1 });
    const template = b.ints('template', [0, 768]);
    const target = b.op('ScatterND', [template, b.constant('where', b.ints('w', [0]).initializer!.reshape([1, 1])), rows]);
    return b.op('Reshape', [x, target], { allowzero: 1 });
  });
  expect(type).toBe('float[batch*seq,768]');
});

test('what cannot be told stays a symbol of its own', () => {
  const type = outputType((b, x) => b.op('NonZero', [b.op('ReduceMax', [x, b.ints('axes', [1, 2])], { keepdims: 0 })]));
  expect(type).toMatch(/^int64\[1,unk_.*_count\]$/);
});
