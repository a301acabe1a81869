// Comparison, boolean logic and Where. Followed contents answer 1, 0 or unknown: a comparison of symbols is decided only where it holds for all extents.
import { broadcastAxes } from './axes-text.js';
import { whereGrad } from './element-grad.js';
import { anyNumber, anyType, binary, boolean, requireType, type TypeTest, unary } from './element-record.js';
import { broadcastInputs, mapValues, sameDtype, tensorResult } from './infer-helpers.js';
import type { OpRecord } from './op.js';
import { bool, followed, itemLess, itemsEqual, partialOf } from './partial-value.js';

type Truth = boolean | undefined;
type Item = Parameters<typeof itemsEqual>[0];

const not = (x: Truth): Truth => (x === undefined ? undefined : !x);
const isTrue = (x: Item): Truth => (x === null ? undefined : itemsEqual(x, 0) === undefined ? undefined : itemsEqual(x, 0) === false);

function and(a: Truth, b: Truth): Truth {
  if (a === false || b === false) return false;
  return a === undefined || b === undefined ? undefined : true;
}

function or(a: Truth, b: Truth): Truth {
  return not(and(not(a), not(b)));
}

function xor(a: Truth, b: Truth): Truth {
  return a === undefined || b === undefined ? undefined : a !== b;
}

/** a <= b; not the negation of b < a, because neither holds for NaN. */
function atMost(a: Item, b: Item): Truth {
  return typeof a === 'number' && typeof b === 'number' ? a <= b : not(itemLess(b, a));
}

const comparison = (opType: string, since: number, types: TypeTest, test: (a: Item, b: Item) => Truth): OpRecord =>
  binary(opType, { since, types, result: 'bool', item: (a, b) => bool(test(a, b)) });

const logical = (opType: string, test: (a: Truth, b: Truth) => Truth): OpRecord =>
  binary(opType, { since: 1, types: boolean, result: 'bool', item: (a, b) => bool(test(isTrue(a), isTrue(b))) });

const where: OpRecord = {
  opType: 'Where',
  domain: '',
  since: 9,
  infer(ctx) {
    requireType(ctx, 0, boolean);
    const dtype = sameDtype(ctx, [1, 2]);
    const shape = broadcastInputs(ctx, [0, 1, 2]);
    const operands = [followed(ctx, 0), followed(ctx, 1), followed(ctx, 2)];
    const pick = (condition: Item, a: Item, b: Item): Item => {
      const truth = isTrue(condition);
      if (truth !== undefined) return truth ? a : b;
      return itemsEqual(a, b) ? a : null;
    };
    const picked = dtype && mapValues(dtype, operands, (c, a, b) => pick(c!, a!, b!));
    return [tensorResult(dtype, shape, picked && partialOf(picked.dtype, picked.dims, picked.items))];
  },
  grad: whereGrad,
  axes: broadcastAxes,
  quant: { kind: 'passthrough', data: [1, 2] },
  cost: 'elementwise',
};

export const LOGIC_OPS: readonly OpRecord[] = [
  logical('And', and),
  logical('Or', or),
  logical('Xor', xor),
  unary('Not', { since: 1, types: boolean, item: (x) => bool(not(isTrue(x))) }),
  comparison('Equal', 1, anyType, itemsEqual),
  comparison('Less', 1, anyNumber, itemLess),
  comparison('Greater', 1, anyNumber, (a, b) => itemLess(b, a)),
  comparison('LessOrEqual', 12, anyNumber, atMost),
  comparison('GreaterOrEqual', 12, anyNumber, (a, b) => atMost(b, a)),
  where,
];
