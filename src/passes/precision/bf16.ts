// bfloat16: weights stored in 16 bits and cast back to float when the model loads, which runs everywhere; or, with `compute: 'bf16'`, bfloat16
// arithmetic throughout for runtimes that have it. The range is float's, so nothing overflows; eight bits of precision remain.
import { z } from 'zod';
import { inferShapes } from '../../analysis/shapes.js';
import { nothingToDoError } from '../../errors.js';
import { DTYPES } from '../../ir/dtype.js';
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { walkGraphs, walkNodes } from '../../ir/walk.js';
import { definePass, type PassContext } from '../../pass/define.js';
import { halfTensor } from '../../quant/half-simd.js';
import { estimateBytes, refuseUnknown, warnIfLarger } from '../../quant/model-checks.js';
import { type Selector, selectorOf } from '../../quant/selection.js';
import { firstReader } from '../../quant/weights.js';
import { simplify } from '../simplify/index.js';
import { requireFloat } from './fp16.js';
import { BFLOAT16, unsupportedIn } from './half-types.js';
import { lowerFloat } from './lower-float.js';

const options = z.object({
  compute: z.enum(['float', 'bf16']).default('float').describe('float: only weights are bfloat16; bf16: arithmetic too, for GPU runtimes'),
  io: z.enum(['keep', 'bfloat16']).default('keep').describe("types of the model's inputs and outputs, with compute bf16"),
  minElements: z.number().int().min(1).default(256).describe('constants with fewer elements stay float'),
  exclude: z
    .array(z.string())
    .default([])
    .describe('names of nodes to leave float; * matches any run of characters, /.../ is a regular expression'),
  opTypes: z.array(z.string()).default([]).describe('only nodes of these operators'),
  simplify: z.boolean().default(true).describe('simplify first'),
});

export type Bf16Options = z.output<typeof options>;

export const toBf16 = definePass({
  name: 'bf16',
  summary: 'weights in bfloat16, arithmetic in float or bfloat16',
  options,
  needs: { engine: true },
  run: runBf16,
});

async function runBf16(model: Model, opts: Bf16Options, ctx: PassContext): Promise<boolean> {
  // Most operators take bfloat16 from opset 22 on.
  const opset = opts.compute === 'bf16' ? 22 : 21;
  const bytesBefore = estimateBytes(model);
  refuseUnknown(model);
  if (opts.simplify) await simplify.definition.run(model, simplify.definition.options.parse({ opset }), ctx);
  inferShapes(model);
  requireFloat(model);
  const select = selectorOf(opts);
  const changed = opts.compute === 'bf16' ? computeInBf16(model, opts, select, ctx) : storeInBf16(model, opts, select, ctx);
  warnIfLarger(bytesBefore, model, 'Cast nodes take more than the smaller constants save', ctx);
  return changed;
}

function computeInBf16(model: Model, opts: Bf16Options, select: Selector, ctx: PassContext): boolean {
  const keep = new Set<Node>();
  for (const node of walkNodes(model.graph)) {
    const reason = unsupportedIn(BFLOAT16, node) ?? select(node);
    if (reason === undefined) continue;
    keep.add(node);
    ctx.skip({ node: node.label, op: node.op, reason });
  }
  const lowered = lowerFloat(model, { type: BFLOAT16, keep, io: opts.io === 'bfloat16' });
  ctx.note('converted', lowered);
  return lowered.nodes > 0;
}

function storeInBf16(model: Model, opts: Bf16Options, select: Selector, ctx: PassContext): boolean {
  let converted = 0;
  for (const graph of walkGraphs(model.graph)) {
    for (const value of [...graph.initializers]) {
      if (!value.isConstant || value.initializer!.dtype !== 'float' || value.initializer!.size < opts.minElements) continue;
      const excluded = value.users.find((node) => select(node) !== undefined);
      if (excluded) {
        ctx.skip({ node: excluded.label, op: excluded.op, reason: select(excluded)! });
        continue;
      }
      store(value);
      converted++;
    }
    graph.pruneValues();
  }
  if (converted === 0) {
    throw nothingToDoError(`nothing to convert: expected a float constant of at least ${opts.minElements} elements, got none`);
  }
  ctx.note('converted', { constants: converted });
  return true;
}

/** Puts bfloat16 data and a Cast where the constant was read. */
function store(value: Value): void {
  const tensor = value.initializer!;
  const { graph } = value;
  const uses = [...value.uses];
  const isOutput = value.isGraphOutput;
  if (isOutput) return;
  const stored = graph.addInitializer(`${value.name}_bfloat16`, halfTensor(tensor, 'bfloat16'));
  const cast = graph.addNode(
    {
      opType: 'Cast',
      name: `${value.name}_Cast`,
      inputs: [stored],
      outputs: [`${value.name}_float`],
      attributes: { to: DTYPES.float.code },
    },
    firstReader(graph, value),
  );
  if (value.type) cast.output().type = value.type;
  for (const { node, index } of uses) node.setInput(index, cast.output());
}
