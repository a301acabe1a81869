// Operators on strings: normalization, concatenation, splitting, matching, n-gram counts.
import type { Dim, Shape } from '../ir/type.js';
import { broadcastInputs, shapeOfInput, tensorResult } from './infer-helpers.js';
import type { InferContext, Inferred, OpRecord } from './op.js';

function requireText(ctx: InferContext, input: number): void {
  const dtype = ctx.dtype(input);
  if (dtype !== undefined && dtype !== 'string') ctx.failType(input, 'string', dtype);
}

/** Stop words shorten the last axis by a number that depends on the text (at least one element stays). */
function inferNormalizer(ctx: InferContext): Inferred[] {
  requireText(ctx, 0);
  const shape = ctx.shape(0);
  if (shape === null || shape.length === 0 || (ctx.node.strings('stopwords') ?? []).length === 0) return [tensorResult('string', shape)];
  return [tensorResult('string', shape.with(-1, ctx.symbol('kept')))];
}

function inferConcat(ctx: InferContext): Inferred[] {
  requireText(ctx, 0);
  requireText(ctx, 1);
  return [tensorResult('string', broadcastInputs(ctx))];
}

function inferSplit(ctx: InferContext): Inferred[] {
  requireText(ctx, 0);
  const shape = ctx.shape(0);
  const parts: Shape | null = shape && [...shape, ctx.symbol('parts')];
  return [tensorResult('string', parts), tensorResult('int64', shape)];
}

function inferTfIdf(ctx: InferContext): Inferred[] {
  const columns: Dim = 1 + Math.max(-1, ...(ctx.node.ints('ngram_indexes') ?? []));
  const shape = ctx.shape(0);
  return [tensorResult('float', shape && [...shape.slice(0, -1), columns])];
}

function record(opType: string, since: number, infer: (ctx: InferContext) => Inferred[], axes: OpRecord['axes']): OpRecord {
  return { opType, domain: '', since, infer, grad: 'none', axes, quant: 'none', cost: 'none' };
}

export const TEXT_OPS: readonly OpRecord[] = [
  record('StringNormalizer', 10, inferNormalizer, 'opaque'),
  record('StringConcat', 20, inferConcat, 'opaque'),
  record('StringSplit', 20, inferSplit, 'opaque'),
  record('RegexFullMatch', 20, shapeOfInput('bool'), 'opaque'),
  record('TfIdfVectorizer', 9, inferTfIdf, (_node, [x]) => (x?.length === 2 ? 'n.->n.' : '.->.')),
];
