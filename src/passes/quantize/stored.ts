// Weights stored in 8 bits and folded to float when the model is loaded: codes, a Cast and a Mul with one scale a channel. ONNX Runtime folds both
// (it does not fold DequantizeLinear), so the model runs exactly as fast as in float and takes a quarter of the bytes. For layers that integer
// kernels would slow down.
import { z } from 'zod';
import { Builder } from '../../ir/builder.js';
import { DTYPES } from '../../ir/dtype.js';
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { walkGraphs } from '../../ir/walk.js';
import { definePass, type PassContext } from '../../pass/define.js';
import { quantFactsOf } from '../../quant/annotate.js';
import { CHANNEL_WEIGHTS, scalesAlong } from '../../quant/channel-weights.js';
import type { Granularity } from '../../quant/scheme.js';
import { selectorOf } from '../../quant/selection.js';
import { quantizeTensor } from '../../quant/tensor.js';
import { firstReader } from '../../quant/weights.js';
import { SELECTION_OPTIONS, SIMPLIFY_OPTION } from './options.js';
import { nothingToQuantize, prepareModel } from './prepare.js';

const options = z.object({
  minElements: z.number().int().min(1).default(256).describe('weights with fewer elements stay float'),
  ...SELECTION_OPTIONS,
  ...SIMPLIFY_OPTION,
});

export const storeWeights = definePass({
  name: 'store-weights',
  summary: 'weights in int8 that the runtime folds to float at load: the speed of float at a quarter of the bytes',
  options,
  needs: { engine: true },
  run: runStored,
});

async function runStored(model: Model, opts: z.output<typeof options>, ctx: PassContext): Promise<boolean> {
  if (opts.simplify) await prepareModel(model, { simplify: true, opset: 21 }, ctx, 'weights');
  const select = selectorOf(opts);
  const done = new Set<Value>();
  for (const graph of walkGraphs(model.graph)) {
    for (const node of graph.nodes) {
      for (const [weight, granularity] of storableWeights(node)) {
        if (done.has(weight) || weight.initializer!.size < opts.minElements) continue;
        const reason = select(node);
        if (reason !== undefined) {
          ctx.skip({ node: node.label, op: node.op, reason });
          break;
        }
        storeWeight(weight, granularity);
        done.add(weight);
      }
    }
  }
  if (done.size === 0 && opts.simplify) nothingToQuantize('weights', []);
  model.graph.pruneValues();
  ctx.note('stored', done.size);
  return done.size > 0;
}

/** Constant float weights of a node and how their scales lie. */
export function storableWeights(node: Node): [Value, Granularity][] {
  const own = node.domain === '' ? CHANNEL_WEIGHTS[node.opType] : undefined;
  const facts = quantFactsOf(node);
  const inputs = own?.inputs ?? (facts !== 'none' && facts.kind === 'compute' ? [facts.weight] : []);
  const found: [Value, Granularity][] = [];
  for (const index of inputs) {
    const weight = node.input(index);
    const tensor = weight?.isConstant ? weight.initializer : null;
    if (!weight || tensor?.dtype !== 'float') continue;
    const axis = own ? own.axis(node) : facts !== 'none' && facts.kind === 'compute' ? facts.channelAxis(node, tensor.rank) : null;
    if (axis === null || tensor.rank < 2) found.push([weight, { kind: 'tensor' }]);
    else found.push([weight, scalesAlong(tensor, axis < 0 ? axis + tensor.rank : axis)]);
  }
  return found;
}

/** Puts int8 codes, a Cast and a Mul where the weight was; answers what they give. Throws E_DATA, and changes nothing, where the weight holds infinite numbers. */
export function storeWeight(weight: Value, granularity: Granularity): Value {
  const tensor = weight.initializer!;
  const q = quantizeTensor(tensor, { dtype: 'int8', symmetry: 'symmetric', granularity });
  const home = weight.graph;
  const uses = [...weight.uses];
  const b = new Builder(home, { before: firstReader(home, weight) });
  const codes = b.constant(`${weight.name}_quantized`, q.data);
  // Scales broadcast over the weight; those of blocks have a last axis of one element already.
  const dims = granularity.kind === 'channel' ? tensor.dims.map((d, i) => (i === granularity.axis ? d : 1)) : q.scale.dims;
  const scale = b.constant(`${weight.name}_scale`, q.scale.reshape(dims));
  const floats = b.op('Cast', [codes], { to: DTYPES.float.code }, { name: `${weight.name}_Cast` });
  const restored = b.op('Mul', [floats, scale], {}, { name: `${weight.name}_Mul`, outputs: [`${weight.name}_restored`] });
  if (weight.type) restored.type = weight.type;
  for (const { node, index } of uses) node.setInput(index, restored);
  return restored;
}
