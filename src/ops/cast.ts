// Changes of the element type: Cast, CastLike (type of another tensor) and BitCast (same bits).
import { DTYPES, type DType, dtypeOfCode, isFloat } from '../ir/dtype.js';
import type { Dim } from '../ir/type.js';
import { sameAxes } from './axes-text.js';
import { dtypeOf } from './grad-builder.js';
import { tensorResult } from './infer-helpers.js';
import type { GradFn, InferContext, Inferred, OpRecord, PartialValue } from './op.js';
import { bool, itemsEqual, partialOf, settle } from './partial-value.js';

/** Target type of Cast: a number of TensorProto.DataType, or in opset 1 its name ("FLOAT"). */
function castTarget(ctx: Pick<InferContext, 'node' | 'failType'>): DType {
  const to = ctx.node.attribute('to');
  if (to?.type === 'string') {
    const name = ctx.node.string('to', '').toLowerCase();
    if (!(name in DTYPES)) ctx.failType(0, 'the name of an ONNX data type in "to"', name);
    return name as DType;
  }
  const code = ctx.node.int('to');
  if (code === undefined) ctx.failType(0, 'an attribute "to"', 'none');
  return dtypeOfCode(code);
}

function castItem(x: Dim, to: DType): Dim {
  if (x === null) return null;
  if (to === 'bool') {
    const zero = itemsEqual(x, 0);
    return bool(zero === undefined ? undefined : !zero);
  }
  if (typeof x === 'string') return x;
  return settle(to, isFloat(to) ? x : Math.trunc(x));
}

/** Content after a conversion; strings are not followed. */
function castValue(value: PartialValue | undefined, to: DType): PartialValue | undefined {
  if (value === undefined || to === 'string') return undefined;
  return partialOf(
    to,
    value.dims,
    value.items.map((x) => castItem(x, to)),
  );
}

/** Back in the input's type; only floats have gradients. */
const castGrad: GradFn = (ctx) => [ctx.b.cast(ctx.outputGrad(), dtypeOf(ctx.input(0)))];

const base = { domain: '', grad: castGrad, axes: sameAxes, quant: 'none', cost: 'elementwise' } as const;

export const CAST_OPS: readonly OpRecord[] = [
  {
    ...base,
    opType: 'Cast',
    since: 1,
    infer(ctx): Inferred[] {
      const to = castTarget(ctx);
      return [tensorResult(to, ctx.shape(0), castValue(ctx.value(0), to))];
    },
  },
  {
    ...base,
    opType: 'CastLike',
    since: 15,
    infer(ctx): Inferred[] {
      const to = ctx.dtype(1);
      return [tensorResult(to, ctx.shape(0), to && castValue(ctx.value(0), to))];
    },
  },
  {
    ...base,
    opType: 'BitCast',
    since: 26,
    grad: 'none',
    cost: 'none',
    infer(ctx): Inferred[] {
      const to = castTarget(ctx);
      const from = ctx.dtype(0);
      if (from && (DTYPES[from].bits !== DTYPES[to].bits || from === 'string'))
        ctx.failType(0, `a type of ${DTYPES[to].bits} bits (as ${to})`, from);
      return [tensorResult(to, ctx.shape(0), from === to ? ctx.value(0) : undefined)];
    },
  },
];
