// Weights stored in 8 bits and folded to float when the model is loaded: codes, a Cast and a Mul with one scale a channel. ONNX Runtime folds both
// (it does not fold DequantizeLinear), so the model runs exactly as fast as in float and takes a quarter of the bytes. For layers that integer
// kernels would slow down.
import { z } from 'zod';
import { Builder } from '../../ir/builder.js';
import { DTYPES } from '../../ir/dtype.js';
import type { Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { walkGraphs } from '../../ir/walk.js';
import { definePass, type PassContext } from '../../pass/define.js';
import { quantFactsOf } from '../../quant/annotate.js';
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
      const facts = quantFactsOf(node);
      if (facts === 'none' || facts.kind !== 'compute') continue;
      const weight = node.input(facts.weight);
      const tensor = weight?.isConstant ? weight.initializer : null;
      if (!weight || !tensor || done.has(weight) || tensor.dtype !== 'float' || tensor.size < opts.minElements) continue;
      const reason = select(node);
      if (reason !== undefined) {
        ctx.skip({ node: node.label, op: node.op, reason });
        continue;
      }
      const axis = facts.channelAxis(node, tensor.rank);
      store(
        weight,
        axis === null || tensor.rank < 2 ? { kind: 'tensor' } : { kind: 'channel', axis: axis < 0 ? axis + tensor.rank : axis },
      );
      done.add(weight);
    }
  }
  if (done.size === 0 && opts.simplify) nothingToQuantize('weights', []);
  model.graph.pruneValues();
  ctx.note('stored', done.size);
  return done.size > 0;
}

function store(weight: Value, granularity: Granularity): void {
  const tensor = weight.initializer!;
  const q = quantizeTensor(tensor, { dtype: 'int8', symmetry: 'symmetric', granularity });
  const home = weight.graph;
  const uses = [...weight.uses];
  const b = new Builder(home, { before: firstReader(home, weight) });
  const codes = b.constant(`${weight.name}_quantized`, q.data);
  const dims = granularity.kind === 'channel' ? tensor.dims.map((d, i) => (i === granularity.axis ? d : 1)) : [];
  const scale = b.constant(`${weight.name}_scale`, q.scale.reshape(dims));
  const floats = b.op('Cast', [codes], { to: DTYPES.float.code }, { name: `${weight.name}_Cast` });
  const restored = b.op('Mul', [floats, scale], {}, { name: `${weight.name}_Mul`, outputs: [`${weight.name}_restored`] });
  if (weight.type) restored.type = weight.type;
  for (const { node, index } of uses) node.setInput(index, restored);
}
