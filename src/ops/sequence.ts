// Sequences of tensors: making, editing, splitting and joining them. The type of a sequence holds what is true of every element.
import { addDims, ceilDivDims } from '../ir/dim.js';
import { dtypeOfCode } from '../ir/dtype.js';
import { type Dim, formatType, type Shape, tensorType, type ValueType } from '../ir/type.js';
import { integersOf, joinTypes, normalizeAxis, scalarOf, scalarValue, tensorResult } from './infer-helpers.js';
import type { InferContext, Inferred, OpRecord } from './op.js';

function elementOf(ctx: InferContext, input = 0): ValueType | undefined {
  const type = ctx.type(input);
  if (type === undefined) return undefined;
  if (type.kind !== 'sequence') ctx.failType(input, 'a sequence', formatType(type));
  return type.element ?? undefined;
}

function sequenceOf(element: ValueType | undefined): ValueType {
  return { kind: 'sequence', element: element ?? null };
}

function inferConstruct(ctx: InferContext): Inferred[] {
  const types = Array.from({ length: ctx.inputCount }, (_, i) => ctx.type(i));
  return [{ type: sequenceOf(types.reduce(joinTypes)) }];
}

function inferEmpty(ctx: InferContext): Inferred[] {
  return [{ type: sequenceOf(tensorType(dtypeOfCode(ctx.node.int('dtype', 1)), null)) }];
}

function inferInsert(ctx: InferContext): Inferred[] {
  const element = elementOf(ctx);
  // An element without a known shape is that of an empty sequence or of a mixed one: nothing to join.
  return [{ type: sequenceOf(joinTypes(element, ctx.type(1)) ?? element) }];
}

function inferSplitToSequence(ctx: InferContext): Inferred[] {
  const dtype = ctx.dtype(0);
  const shape = ctx.shape(0);
  if (dtype === undefined || shape === null) return [{ type: sequenceOf(dtype && tensorType(dtype, null)) }];
  const axis = normalizeAxis(ctx, ctx.node.int('axis', 0), shape.length);
  if (!ctx.has(1)) {
    const drop = ctx.node.int('keepdims', 1) === 0;
    return [{ type: sequenceOf(tensorType(dtype, drop ? shape.toSpliced(axis, 1) : shape.with(axis, 1))) }];
  }
  const split = ctx.shape(1)?.length === 0 ? scalarOf(ctx, 1) : integersOf(ctx, 1);
  return [{ type: sequenceOf(tensorType(dtype, shape.with(axis, partExtent(shape[axis]!, split)))) }];
}

/** Extent that all parts share, or null. `split` is the size of each part (the last may be smaller) or the list of sizes. */
function partExtent(extent: Dim, split: number | number[] | undefined): Dim {
  if (split === undefined) return null;
  if (typeof split === 'number') return typeof extent === 'number' && extent % split === 0 ? split : null;
  return split.every((s) => s === split[0]) ? (split[0] ?? null) : null;
}

/** Number of elements where the sequence comes straight from its construction, a split, or edits of those. */
function lengthOf(ctx: InferContext): Dim {
  let added = 0;
  let value = ctx.node.input(0);
  for (;;) {
    const producer = value?.producer;
    if (producer?.domain !== '') return null;
    if (producer.opType === 'SequenceInsert') added++;
    else if (producer.opType === 'SequenceErase') added--;
    else if (producer.opType === 'SequenceEmpty') return added;
    else if (producer.opType === 'SequenceConstruct') return producer.inputs.length + added;
    else if (producer.opType === 'SplitToSequence') return addDims(partsOf(producer), added);
    else if (producer.opType !== 'Identity' && producer.opType !== 'SequenceMap') return null;
    value = producer.input(0);
  }
}

function partsOf(split: InferContext['node']): Dim {
  const source = split.input(0)?.type;
  if (source?.kind !== 'tensor' || source.shape === null) return null;
  const extent = source.shape.at(split.int('axis', 0)) ?? null;
  const sizes = split.input(1);
  if (!sizes) return extent;
  const data = sizes.initializer;
  if (data?.rank === 0) return ceilDivDims(extent, data.numbers()[0]!);
  const shape = sizes.type?.kind === 'tensor' ? sizes.type.shape : null;
  return shape?.length === 1 ? shape[0]! : null;
}

function inferConcatFromSequence(ctx: InferContext): Inferred[] {
  const element = elementOf(ctx);
  if (element?.kind !== 'tensor') return [{ type: undefined }];
  const shape = element.shape;
  if (shape === null) return [tensorResult(element.dtype, null)];
  const count = lengthOf(ctx);
  const axis = ctx.node.int('axis', 0);
  if (ctx.node.int('new_axis', 0) !== 0) {
    const at = normalizeAxis(ctx, axis, shape.length + 1);
    return [tensorResult(element.dtype, shape.toSpliced(at, 0, count ?? ctx.symbol('count')))];
  }
  const at = normalizeAxis(ctx, axis, shape.length);
  return [tensorResult(element.dtype, shape.with(at, totalOf(ctx, at) ?? ctx.symbol('total')))];
}

/** Extent of the concatenation, where the parts are the inputs of a SequenceConstruct or the pieces of a split along the same axis. */
function totalOf(ctx: InferContext, axis: number): Dim {
  const producer = ctx.node.input(0)?.producer;
  const shapes = (producer?.inputs ?? []).map((v): Shape | null => (v?.type?.kind === 'tensor' ? v.type.shape : null));
  if (producer?.opType === 'SequenceConstruct') return shapes.reduce<Dim>((sum, s) => addDims(sum, s?.[axis] ?? null), 0);
  if (producer?.opType !== 'SplitToSequence') return null;
  const rank = shapes[0]?.length ?? 0;
  const splitAxis = producer.int('axis', 0);
  return (splitAxis < 0 ? splitAxis + rank : splitAxis) === axis ? (shapes[0]?.[axis] ?? null) : null;
}

function inferSequenceMap(ctx: InferContext): Inferred[] {
  const body = ctx.node.subgraph('body');
  if (!body) return [];
  const inputs = Array.from({ length: ctx.inputCount }, (_, i) => {
    const type = ctx.type(i);
    return type?.kind === 'sequence' ? (type.element ?? undefined) : type;
  });
  return ctx.subgraph(body, inputs).map((type) => ({ type: sequenceOf(type) }));
}

function inferLength(ctx: InferContext): Inferred[] {
  const length = lengthOf(ctx);
  return [tensorResult('int64', [], length === null ? undefined : scalarValue('int64', length))];
}

function inferAt(ctx: InferContext): Inferred[] {
  const producer = ctx.node.input(0)?.producer;
  const position = scalarOf(ctx, 1);
  if (producer?.opType === 'SequenceConstruct' && position !== undefined) {
    const picked = producer.inputs.at(position);
    if (!picked) ctx.failShape(1, `a position among ${producer.inputs.length} elements`, String(position));
    const element = elementOf(ctx);
    return [{ type: picked.type ?? element }];
  }
  return [{ type: elementOf(ctx) }];
}

function record(opType: string, infer: (ctx: InferContext) => Inferred[]): OpRecord {
  return { opType, domain: '', since: 11, infer, grad: 'none', axes: 'opaque', quant: 'none', cost: 'none' };
}

export const SEQUENCE_OPS: readonly OpRecord[] = [
  record('SequenceConstruct', inferConstruct),
  record('SequenceEmpty', inferEmpty),
  record('SequenceInsert', inferInsert),
  record('SequenceErase', (ctx) => [{ type: ctx.type(0) }]),
  record('SequenceAt', inferAt),
  record('SequenceLength', inferLength),
  record('SplitToSequence', inferSplitToSequence),
  record('ConcatFromSequence', inferConcatFromSequence),
  { ...record('SequenceMap', inferSequenceMap), since: 17 },
];
