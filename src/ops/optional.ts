// Optional values: a tensor or sequence that may be absent.
import type { ValueType } from '../ir/type.js';
import { tensorResult } from './infer-helpers.js';
import type { InferContext, Inferred, OpRecord } from './op.js';

function inferOptional(ctx: InferContext): Inferred[] {
  const given = ctx.has(0) ? ctx.type(0) : declaredType(ctx);
  return [{ type: { kind: 'optional', element: given ?? null } }];
}

function declaredType(ctx: InferContext): ValueType | undefined {
  const attribute = ctx.node.attribute('type');
  return attribute?.type === 'type_proto' ? attribute.value : undefined;
}

/** From opset 18 on the input may also be a plain tensor or sequence, which passes through. */
function inferGetElement(ctx: InferContext): Inferred[] {
  const type = ctx.type(0);
  return [{ type: type?.kind === 'optional' ? (type.element ?? undefined) : type }];
}

function record(opType: string, infer: (ctx: InferContext) => Inferred[]): OpRecord {
  return { opType, domain: '', since: 15, infer, grad: 'none', axes: 'opaque', quant: 'none', cost: 'none' };
}

export const OPTIONAL_OPS: readonly OpRecord[] = [
  record('Optional', inferOptional),
  record('OptionalGetElement', inferGetElement),
  record('OptionalHasElement', () => [tensorResult('bool', [])]),
];
