// What every quantization mode does first and last: simplify (which folds BatchNorm and upgrades the opset), infer types, recognise models that are
// quantized already, and compare sizes at the end.
import { inferShapes } from '../../analysis/shapes.js';
import { nothingToDoError } from '../../errors.js';
import type { Node } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { walkNodes } from '../../ir/walk.js';
import type { PassContext } from '../../pass/define.js';
import { isQuantizedOp, quantFactsOf } from '../../quant/annotate.js';
import { estimateBytes, refuseUnknown } from '../../quant/model-checks.js';
import { simplify } from '../simplify/index.js';
import { unfuseConvolutions } from './unfuse.js';

export { warnIfLarger } from '../../quant/model-checks.js';

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
    // Integer products need weights of their own, a scale for each column of the product.
    await definition.run(model, definition.options.parse({ opset: options.opset, keepTied: mode !== 'static' }), ctx);
  }
  unfuseConvolutions(model);
  inferShapes(model);
  return bytes;
}

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
