// Inputs that do not fit an operator are errors that name the operator, the input, what was expected and what came.
import { expect, test } from 'vitest';
import { inferShapes } from '../src/analysis/shapes.js';
import { PareError } from '../src/errors.js';
import type { AttributeInput } from '../src/ir/attribute.js';
import { buildModel } from '../src/ir/builder.js';
import type { DType } from '../src/ir/dtype.js';
import type { Shape } from '../src/ir/type.js';

type Operand = { dtype?: DType; shape: Shape } | readonly number[];

/** The error that strict inference of one node raises. */
function misfit(op: string, operands: readonly Operand[], attributes: Record<string, AttributeInput> = {}, opset = 21): PareError {
  const model = buildModel(
    'm',
    (b) => {
      const inputs = operands.map((o, i) => ('shape' in o ? b.input(`x${i}`, o.dtype ?? 'float', o.shape) : b.ints(`c${i}`, o)));
      b.output(b.op(op, inputs, attributes, { name: 'tested' }));
    },
    { opset },
  );
  try {
    inferShapes(model, { strict: true });
  } catch (error) {
    if (error instanceof PareError) return error;
    throw error;
  }
  throw new Error(`${op}: expected an error, got ${JSON.stringify(model.graph.outputs[0]?.type)}`);
}

const at = (...shape: (number | string)[]): Operand => ({ shape });

test.each<[string, string, readonly Operand[], Record<string, AttributeInput>, RegExp]>([
  ['E_SHAPE', 'Add', [at('n', 3), at(4)], {}, /input 1 .*broadcasts with \[n,3\], got \[4\]/],
  ['E_TYPE', 'Add', [at(3), { dtype: 'double', shape: [3] }], {}, /input 1 .*expected float, got double/],
  ['E_TYPE', 'And', [at(3), at(3)], {}, /input 0 .*expected bool, got float/],
  ['E_TYPE', 'Sqrt', [{ dtype: 'int32', shape: [3] }], {}, /floating-point type, got int32/],
  ['E_SHAPE', 'Reshape', [at(2, 3), [4, 2]], {}, /a shape of 6 elements, got \[4,2\] \(8 elements\)/],
  ['E_SHAPE', 'Reshape', [at(2, 3), [4, -1]], {}, /divides 6 elements, got \[4,-1\]/],
  ['E_SHAPE', 'Reshape', [at(2, 3), [-1, -1]], {}, /at most one -1/],
  ['E_SHAPE', 'Squeeze', [at(2, 3), [0]], {}, /extent 1 at axis 0, got \[2,3\]/],
  ['E_SHAPE', 'Unsqueeze', [at(2, 3), [0, -4]], {}, /different axes/],
  ['E_SHAPE', 'Transpose', [at(2, 3)], { perm: [0, 1, 2] }, /rank 3 for the permutation/],
  ['E_SHAPE', 'Concat', [at('n', 3), at('n', 4)], { axis: 0 }, /input 1 .*at axis 1/],
  ['E_SHAPE', 'Concat', [at(2), at(2, 1)], { axis: 0 }, /rank 1, got \[2,1\]/],
  ['E_SHAPE', 'Split', [at(7), [3, 3]], {}, /2 sizes|1 sizes|sizes/],
  ['E_SHAPE', 'Gather', [at(3, 4), [3]], {}, /indices in \[-3,2\], got 3/],
  ['E_SHAPE', 'ReduceSum', [at(3, 4), [2]], {}, /axis in \[-2,1\], got axis 2/],
  ['E_SHAPE', 'TopK', [at(3), [4]], {}, /k in \[0,3\], got 4/],
  ['E_SHAPE', 'Pad', [at(3, 4), [1, 1]], {}, /4 pads, got \[1,1\]/],
  ['E_SHAPE', 'Pad', [at(3), [-2, -2]], {}, /extent of 0 or more/],
  ['E_SHAPE', 'Slice', [at(3, 4), [0], [1], [0, 1]], {}, /2 entries, one an axis/],
  ['E_SHAPE', 'Tile', [at(3, 4), [2]], {}, /2 repeats, got \[2\]/],
  ['E_SHAPE', 'DepthToSpace', [at(1, 6, 2, 2)], { blocksize: 2 }, /4 divides, got 6/],
  ['E_SHAPE', 'GatherND', [at(3), { dtype: 'int64', shape: [2, 2] }], {}, /index tuples of at most 1/],
  ['E_SHAPE', 'ScatterND', [at(3, 4), { dtype: 'int64', shape: [2, 1] }, at(2, 5)], {}, /expected \[2,4\], got \[2,5\]/],
  ['E_SHAPE', 'Det', [at(2, 3)], {}, /square matrices/],
  ['E_SHAPE', 'Range', [[0], [5], [0]], {}, /a delta other than 0/],
  ['E_SHAPE', 'Resize', [at(1, 1, 4, 4), [], [], [8, 8]], {}, /4 values, one an axis, got 2/],
])('%s: %s', (code, op, operands, attributes, message) => {
  const error = misfit(op, operands, attributes);
  expect(error.code).toBe(code);
  expect(error.message).toMatch(message);
  expect(error.message).toContain('"tested"');
  expect(error.place.node).toBe('tested');
});

test('a misfit is listed, not thrown, where inference is not strict', () => {
  const model = buildModel('m', (b) => {
    const sum = b.op('Add', [b.input('a', 'float', [2]), b.input('b', 'float', [3])]);
    b.output(b.op('Abs', [sum]));
  });
  const report = inferShapes(model);
  expect(report.unknown.map((u) => u.op)).toEqual(['Add']);
  expect(model.graph.outputs[0]!.type).toBeUndefined();
});
