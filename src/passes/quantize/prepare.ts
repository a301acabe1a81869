// What every quantization mode does first and last: simplify (which folds BatchNorm and upgrades the opset), infer types, recognise models that are
// quantized already, and compare sizes at the end.
import { constantBytes, graphsOf } from '../../analysis/facts.js';
import { inferShapes } from '../../analysis/shapes.js';
import { nothingToDoError, unsupportedError } from '../../errors.js';
import type { Node } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { walkNodes } from '../../ir/walk.js';
import type { PassContext } from '../../pass/define.js';
import { isQuantizedOp, quantFactsOf } from '../../quant/annotate.js';
import { simplify } from '../simplify/index.js';
import { unfuseConvolutions } from './unfuse.js';

export interface PrepareOptions {
  readonly simplify: boolean;
  /** Opset to bring the model to. */
  readonly opset: number;
}

/** Simplifies if asked for, infers types, and answers about how many bytes the model took before anything was changed. */
export async function prepareModel(model: Model, options: PrepareOptions, ctx: PassContext, mode: string): Promise<number> {
  const bytes = estimateBytes(model);
  refuseUnknown(model);
  refuseQuantized(model, mode);
  if (options.simplify) {
    const { definition } = simplify;
    await definition.run(model, definition.options.parse({ opset: options.opset }), ctx);
  }
  unfuseConvolutions(model);
  inferShapes(model);
  return bytes;
}

/** Throws E_UNSUPPORTED naming every operator that neither the runtime nor the model itself defines. */
export function refuseUnknown(model: Model): void {
  const unknown = new Map<string, number>();
  for (const node of walkNodes(model.graph)) {
    if (KNOWN_DOMAINS.has(node.domain) || model.functionOf(node)) continue;
    unknown.set(node.op, (unknown.get(node.op) ?? 0) + 1);
  }
  if (unknown.size === 0) return;
  const list = [...unknown].map(([op, n]) => `${op} (${n})`).join(', ');
  throw unsupportedError(`operators of unknown domains: ${list}`, {
    hint: 'the runtime needs a custom operator library for them, which Pare cannot load',
  });
}

const KNOWN_DOMAINS = new Set(['', 'ai.onnx.ml', 'ai.onnx.training', 'com.microsoft', 'com.microsoft.nchwc', 'com.ms.internal.nhwc']);

/** Throws E_NOTHING_TO_DO for a model whose compute nodes are all quantized. */
function refuseQuantized(model: Model, mode: string): void {
  let quantized = 0;
  let open = 0;
  let example: Node | undefined;
  for (const node of walkNodes(model.graph)) {
    if (isQuantizedOp(node)) {
      quantized++;
      example ??= node;
      continue;
    }
    const facts = quantFactsOf(node);
    if (facts !== 'none' && facts.kind === 'compute' && !readsQuantized(node)) open++;
  }
  if (quantized > 0 && open === 0) {
    throw nothingToDoError(
      `the model is quantized already: found ${quantized} quantization operators, such as ${example?.op} "${example?.label}", and no float compute node`,
      { place: { pass: `quantize-${mode}` }, hint: 'quantize the float model it was made from' },
    );
  }
}

/** True where an operand comes out of DequantizeLinear (possibly moved in between). */
function readsQuantized(node: Node): boolean {
  return node.inputs.some((value) => value?.producer && isQuantizedOp(value.producer));
}

/**
 * Bytes of the model file, near enough: data of constants, names, and a few bytes for every field. The encoder would say it exactly,
 * but would compute weights that are only wanted when the file is written.
 */
export function estimateBytes(model: Model): number {
  let bytes = constantBytes(model);
  for (const graph of graphsOf(model)) {
    for (const value of graph.values()) if (value.initializer) bytes += value.name.length + 4 * value.initializer.rank + 12;
    for (const node of graph.nodes) {
      bytes += node.name.length + node.opType.length + node.domain.length + 12 + 16 * node.attributes.size;
      for (const value of [...node.inputs, ...node.outputs]) bytes += (value?.name.length ?? 0) + 2;
    }
  }
  return bytes;
}

/** Says why where the result is larger than what came in. */
export function warnIfLarger(before: number, model: Model, why: string, ctx: PassContext): void {
  const after = estimateBytes(model);
  if (after <= before) return;
  ctx.warn({
    message: `the result is larger than the input: about ${after} bytes instead of ${before}, because ${why}`,
    fix: 'keep the float model, or quantize only the large weights (--op-types, --exclude)',
  });
}

/** Throws E_NOTHING_TO_DO with the reasons that were found. */
export function nothingToQuantize(
  mode: string,
  reasons: readonly { readonly node: string; readonly op: string; readonly reason: string }[],
): never {
  const counted = new Map<string, number>();
  for (const { op, reason } of reasons) counted.set(`${op}: ${reason}`, (counted.get(`${op}: ${reason}`) ?? 0) + 1);
  const list = [...counted].map(([text, n]) => `${n} ${text}`).join('; ');
  throw nothingToDoError(
    `nothing to quantize in mode ${mode}: expected at least one node that can be quantized, got none${list ? ` (${list})` : ''}`,
    {
      place: { pass: `quantize-${mode}` },
      hint: 'profile the model to see where its bytes are; other modes may apply',
    },
  );
}
