// Checks of a whole model that every lossy conversion makes: about how large it is, and that the runtime knows its operators.
import { constantBytes, graphsOf } from '../analysis/facts.js';
import { unsupportedError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { walkNodes } from '../ir/walk.js';

/** Takes remarks for the user; a pass context does. */
interface Reporter {
  warn(warning: { readonly message: string; readonly fix?: string }): void;
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
export function warnIfLarger(before: number, model: Model, why: string, ctx: Reporter): void {
  const after = estimateBytes(model);
  if (after <= before) return;
  ctx.warn({
    message: `the result is larger than the input: about ${after} bytes instead of ${before}, because ${why}`,
    fix: 'keep the float model, or quantize only the large weights (--op-types, --exclude)',
  });
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
