// Operators on the shape alone: asking for it (Shape, Size) and changing it without moving data (Reshape, Flatten, Squeeze, Unsqueeze),
// and Identity and Expand, which keep or repeat it.
import { equalDims, floorDivDims, mulDims, sizeOf } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, isStatic, type Shape } from '../ir/type.js';
import { axesText, ignored, letters, outputShape, reshapeAxes, sameAxes } from './axes-text.js';
import { reshapeGrad } from './element-grad.js';
import { unbroadcastTo } from './grad-helpers.js';
import { axesOf, broadcastShapes, mapValues, normalizeAxis, sameAsInput, scalarValue, tensorResult, vectorValue } from './infer-helpers.js';
import { type Axes, type InferContext, type Inferred, MAX_PARTIAL_ELEMENTS, type OpRecord, type QuantFacts } from './op.js';
import { sizeOf as countOf, partialOf, shapeItems } from './partial-value.js';

const MOVES: QuantFacts = { kind: 'passthrough', data: [0] };

const free = { domain: '', grad: 'none', cost: 'none' } as const;
const regroups = { domain: '', grad: reshapeGrad, cost: 'none' } as const;

/** A result that holds input 0's elements in the same order under another shape. */
function regrouped(ctx: InferContext, shape: Shape | null): Inferred[] {
  const value = ctx.value(0);
  const fits = value && isStatic(shape) && countOf(shape) === value.items.length;
  return [tensorResult(ctx.dtype(0), shape, fits ? { dtype: value.dtype, dims: shape, items: value.items } : undefined)];
}

const shapeOf: OpRecord = {
  ...free,
  opType: 'Shape',
  since: 1,
  infer(ctx) {
    const shape = ctx.shape(0);
    if (shape === null) return [tensorResult('int64', [null])];
    const clamp = (x: number) => Math.min(Math.max(x < 0 ? x + shape.length : x, 0), shape.length);
    const start = clamp(ctx.node.int('start', 0));
    const end = clamp(ctx.node.int('end', shape.length));
    const items = shape.slice(start, Math.max(start, end));
    const value = vectorValue('int64', items);
    return [tensorResult('int64', [items.length], partialOf('int64', value.dims, value.items))];
  },
  axes: 'opaque',
  quant: 'none',
};

const size: OpRecord = {
  ...free,
  opType: 'Size',
  since: 1,
  infer(ctx) {
    const count = sizeOf(ctx.shape(0));
    return [tensorResult('int64', [], count === null ? undefined : scalarValue('int64', count))];
  },
  axes: 'opaque',
  quant: 'none',
};

/**
 * Shape after Reshape: 0 copies the input's dimension (unless `allowzero`), -1 takes what is left. A single unknown item takes
 * what is left too, whatever its value turns out to be.
 */
function reshapedShape(ctx: InferContext, target: readonly Dim[], allowZero: boolean): Shape {
  const source = ctx.shape(0);
  const shape = target.map((d, i): Dim => {
    if (d !== 0 || allowZero) return d;
    if (source && i >= source.length) ctx.failShape(1, `a 0 only where the input has an axis, of ${source.length}`, formatShape(target));
    return source ? source[i]! : null;
  });
  if (target.filter((d) => d === -1).length > 1) ctx.failShape(1, 'at most one -1', formatShape(target));
  const open = shape.flatMap((d, i) => (d === -1 || (d === null && target[i] !== 0) ? [i] : []));
  const rest = sizeOf(shape.filter((_, i) => !open.includes(i)));
  const total = sizeOf(source);
  if (open.length === 1) shape[open[0]!] = remaining(ctx, total, rest, target);
  else if (open.length > 1) for (const i of open) shape[i] = null;
  else if (equalDims(total, rest) === false) ctx.failShape(1, `a shape of ${total} elements`, `${formatShape(shape)} (${rest} elements)`);
  return shape;
}

function remaining(ctx: InferContext, total: Dim, rest: Dim, target: readonly Dim[]): Dim {
  const quotient = floorDivDims(total, rest);
  const exact = equalDims(mulDims(quotient, rest), total);
  if (exact === false && typeof total === 'number' && typeof rest === 'number')
    ctx.failShape(1, `a shape that divides ${total} elements`, formatShape(target));
  return quotient;
}

const reshape: OpRecord = {
  ...regroups,
  opType: 'Reshape',
  since: 1,
  infer(ctx) {
    const target = ctx.has(1) ? shapeItems(ctx, 1) : ctx.node.ints('shape');
    if (target === undefined) return [tensorResult(ctx.dtype(0), null)];
    return regrouped(ctx, reshapedShape(ctx, target, ctx.node.int('allowzero', 0) !== 0));
  },
  axes: reshapeAxes,
  quant: MOVES,
};

const flatten: OpRecord = {
  ...regroups,
  opType: 'Flatten',
  since: 1,
  infer(ctx) {
    const shape = ctx.shape(0);
    if (shape === null) return [tensorResult(ctx.dtype(0), [null, null])];
    const at = ctx.node.int('axis', 1);
    if (at < -shape.length || at > shape.length) ctx.failShape(0, `an axis in [${-shape.length},${shape.length}]`, `axis ${at}`);
    const axis = at < 0 ? at + shape.length : at;
    return regrouped(ctx, [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis))]);
  },
  axes: reshapeAxes,
  quant: MOVES,
};

const squeeze: OpRecord = {
  ...regroups,
  opType: 'Squeeze',
  since: 1,
  infer(ctx) {
    const shape = ctx.shape(0);
    const given = axesOf(ctx, 1);
    if (shape === null) return [tensorResult(ctx.dtype(0), null)];
    if (given === null) {
      const count = ctx.shape(1)?.[0];
      return [tensorResult(ctx.dtype(0), typeof count === 'number' ? new Array<Dim>(Math.max(0, shape.length - count)).fill(null) : null)];
    }
    if (given === undefined) {
      // A symbol may turn out to be 1, and then vanishes: not even the rank is known.
      return regrouped(ctx, shape.every((d) => typeof d === 'number') ? shape.filter((d) => d !== 1) : null);
    }
    const axes = given.map((a) => normalizeAxis(ctx, a, shape.length));
    for (const a of axes) if (equalDims(shape[a]!, 1) === false) ctx.failShape(0, `extent 1 at axis ${a}`, formatShape(shape));
    return regrouped(
      ctx,
      shape.filter((_, i) => !axes.includes(i)),
    );
  },
  axes: reshapeAxes,
  quant: MOVES,
};

const unsqueeze: OpRecord = {
  ...regroups,
  opType: 'Unsqueeze',
  since: 1,
  infer(ctx) {
    const shape = ctx.shape(0);
    const given = axesOf(ctx, 1);
    if (shape === null) return [tensorResult(ctx.dtype(0), null)];
    if (given == null) {
      const count = ctx.shape(1)?.[0];
      return [tensorResult(ctx.dtype(0), typeof count === 'number' ? new Array<Dim>(shape.length + count).fill(null) : null)];
    }
    const rank = shape.length + given.length;
    const axes = given.map((a) => normalizeAxis(ctx, a, rank, ctx.has(1) ? 1 : 0));
    if (new Set(axes).size !== axes.length) ctx.failShape(ctx.has(1) ? 1 : 0, 'different axes', `[${given.join(',')}]`);
    const left = shape.slice();
    return regrouped(
      ctx,
      Array.from({ length: rank }, (_, i) => (axes.includes(i) ? 1 : left.shift()!)),
    );
  },
  axes: reshapeAxes,
  quant: MOVES,
};

const identity: OpRecord = {
  ...regroups,
  opType: 'Identity',
  since: 1,
  infer: sameAsInput(0, { value: true }),
  axes: sameAxes,
  quant: MOVES,
};

/** Axes that Expand leaves as they are keep their letter; those it repeats must not be sliced. */
function expandAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const from = inputs[0];
  const to = outputShape(node);
  if (!from || !to) return 'opaque';
  const offset = to.length - from.length;
  const same = (axis: number) => axis >= offset && equalDims(from[axis - offset]!, to[axis]!) === true;
  const terms = letters(to.length).map((t, i) => (same(i) ? t : '.'));
  return axesText([terms.slice(offset), ...ignored(node)], [terms]);
}

const expand: OpRecord = {
  ...free,
  grad: (ctx) => [unbroadcastTo(ctx.b, ctx.outputGrad(), ctx.input(0))],
  opType: 'Expand',
  since: 8,
  infer(ctx) {
    const dtype = ctx.dtype(0);
    const target = shapeItems(ctx, 1);
    if (target === undefined) return [tensorResult(dtype, null)];
    const negative = target.find((d) => typeof d === 'number' && d < 0);
    if (negative !== undefined) ctx.failShape(1, 'dimensions of 0 or more', formatShape(target));
    const shape = broadcastShapes(ctx, ctx.shape(0), target, 1);
    const value = ctx.value(0);
    if (!value || !isStatic(shape) || countOf(shape) > MAX_PARTIAL_ELEMENTS) return [tensorResult(dtype, shape)];
    const frame = { dtype: value.dtype, dims: shape, items: new Array<Dim>(countOf(shape)).fill(0) };
    const filled = mapValues(value.dtype, [value, frame], (x) => x!);
    return [tensorResult(dtype, shape, filled && partialOf(filled.dtype, filled.dims, filled.items))];
  },
  axes: expandAxes,
  quant: MOVES,
};

export const SHAPE_OPS: readonly OpRecord[] = [shapeOf, size, reshape, flatten, squeeze, unsqueeze, identity, expand];
