// Half precision: weights and arithmetic in float16, half the bytes. Nodes whose values leave float16's range are found by running data and stay
// float, as do constants that float16 cannot hold; nothing is clamped in silence.
import { z } from 'zod';
import { inferShapes } from '../../analysis/shapes.js';
import { nothingToDoError } from '../../errors.js';
import type { Node, Value } from '../../ir/graph.js';
import { type Model, tensorTypeOf } from '../../ir/model.js';
import { walkNodes } from '../../ir/walk.js';
import { definePass, type PassContext } from '../../pass/define.js';
import { type Measurement, measureRanges } from '../../quant/calibrate.js';
import { estimateBytes, refuseUnknown, warnIfLarger } from '../../quant/model-checks.js';
import { selectorOf } from '../../quant/selection.js';
import { simplify } from '../simplify/index.js';
import { type ConstantProblem, constantProblem } from './constants.js';
import { FLOAT16, unsupportedIn } from './half-types.js';
import { lowerFloat } from './lower-float.js';

/** Share of float16's range that measured values may take: other inputs may go further than the data. */
const HEADROOM = 0.75;

const options = z.object({
  io: z.enum(['keep', 'float16']).default('keep').describe("types of the model's inputs and outputs: keep float, or float16 too"),
  measure: z.boolean().default(true).describe('run data (where given) to find values beyond the range of float16; their nodes stay float'),
  samples: z.number().int().positive().default(8).describe('most samples to measure on'),
  exclude: z
    .array(z.string())
    .default([])
    .describe('names of nodes to leave float; * matches any run of characters, /.../ is a regular expression'),
  opTypes: z.array(z.string()).default([]).describe('only nodes of these operators'),
  simplify: z.boolean().default(true).describe('simplify first: recognise layer normalization, whose parts overflow in float16'),
});

export type Fp16Options = z.output<typeof options>;

export const toFp16 = definePass({
  name: 'fp16',
  summary: 'weights and arithmetic in half precision, float where values overflow',
  options,
  needs: { data: 'optional', engine: true },
  run: runFp16,
});

async function runFp16(model: Model, opts: Fp16Options, ctx: PassContext): Promise<boolean> {
  const bytesBefore = estimateBytes(model);
  refuseUnknown(model);
  if (opts.simplify) await simplify.definition.run(model, simplify.definition.options.parse({}), ctx);
  inferShapes(model);
  requireFloat(model);
  const reasons = await reasonsToKeep(model, opts, ctx);
  for (const [node, reason] of reasons) ctx.skip({ node: node.label, op: node.op, reason });
  const lowered = lowerFloat(model, { type: FLOAT16, keep: new Set(reasons.keys()), io: opts.io === 'float16' });
  ctx.note('converted', lowered);
  warnIfLarger(bytesBefore, model, 'Cast nodes take more than the smaller constants save', ctx);
  return lowered.nodes > 0;
}

/** Throws E_NOTHING_TO_DO where no value is float. */
export function requireFloat(model: Model): void {
  for (const node of walkNodes(model.graph)) {
    if (node.outputs.some((v) => v && tensorTypeOf(v)?.dtype === 'float')) return;
  }
  throw nothingToDoError('nothing to convert: expected at least one node that computes in float, got none');
}

async function reasonsToKeep(model: Model, opts: Fp16Options, ctx: PassContext): Promise<Map<Node, string>> {
  const reasons = new Map<Node, string>();
  const select = selectorOf(opts);
  const constants = new Map<Value, ConstantProblem | undefined>();
  for (const node of walkNodes(model.graph)) {
    const reason = unsupportedIn(FLOAT16, node, model.opset) ?? select(node) ?? constantReason(node, constants, ctx);
    if (reason !== undefined) reasons.set(node, reason);
  }
  if (!opts.measure) return reasons;
  if (!ctx.data) {
    ctx.warn({
      message: 'no data was given, so overflow in float16 was not measured',
      fix: 'give --data, or check the verification figures',
    });
    return reasons;
  }
  for (const [node, reason] of await overflowing(model, opts, ctx)) if (!reasons.has(node)) reasons.set(node, reason);
  return reasons;
}

function constantReason(node: Node, known: Map<Value, ConstantProblem | undefined>, ctx: PassContext): string | undefined {
  const floatInputs = FLOAT16.floatInputs[node.opType] ?? [];
  for (const [i, value] of node.inputs.entries()) {
    if (!value?.isConstant || value.initializer?.dtype !== 'float' || floatInputs.includes(i)) continue;
    if (!known.has(value)) {
      const problem = constantProblem(value.initializer, FLOAT16);
      known.set(value, problem);
      if (problem?.serious) ctx.warn({ message: `constant ${value.name} ${problem.text}; its readers stay float`, node: node.label });
    }
    const problem = known.get(value);
    if (problem?.serious) return `its constant ${value.name} ${problem.text}`;
  }
  return undefined;
}

/** Nodes that make or read a value beyond the range, on the data given. */
async function overflowing(model: Model, opts: Fp16Options, ctx: PassContext): Promise<Map<Node, string>> {
  const measurements: Measurement[] = [];
  for (const value of model.graph.values()) {
    if (!value.initializer && tensorTypeOf(value)?.dtype === 'float' && (value.producer || value.isGraphInput))
      measurements.push({ value });
  }
  const statistics = await measureRanges(model, measurements, {
    engine: ctx.engine,
    data: ctx.data!,
    threads: ctx.threads,
    limit: opts.samples,
    checkAborted: () => ctx.checkAborted(),
    onProgress: (fraction) => ctx.progress({ fraction, label: 'measuring ranges' }),
  });
  const found = new Map<Node, string>();
  for (const { value } of measurements) {
    const s = statistics.get(value.name);
    if (!s) continue;
    const reach = Math.max(Math.abs(s.min), Math.abs(s.max));
    if (!(reach > FLOAT16.max * HEADROOM) || s.max < s.min) continue;
    const reason = `value ${value.name} reaches ${reach.toPrecision(3)} on the data, and float16 ends at ${FLOAT16.max}`;
    if (value.producer) found.set(value.producer, reason);
    for (const user of value.users) found.set(user, reason);
  }
  if (found.size > 0) {
    ctx.warn({
      message: `${found.size} nodes stay float, because their values come near or beyond the range of float16`,
      fix: 'nothing to do',
    });
  }
  return found;
}
