// Which nodes of a quantized model its runtime really runs in integers. ONNX Runtime replaces a float operator between DequantizeLinear and QuantizeLinear
// (or MatMulInteger, Cast and Mul) by one kernel where the group has the form that it looks for; where not, it computes in float and converts on both sides,
// which is slower than the original. Seen in the profile of a run; the reason is read from the group's form.
import { PareError } from '../errors.js';
import type { Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { walkNodes } from '../ir/walk.js';
import type { Fusion, UnfusedNode } from '../pass/record.js';
import { quantFactsOf } from '../quant/annotate.js';
import { RUNTIMES, type Runtime } from '../quant/runtimes.js';
import type { Engine, ModelSource, NodeTime, SessionOptions } from '../runtime/engine.js';
import { findFeeds } from '../runtime/inputs.js';

export interface FusionOptions {
  readonly batch?: number | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly seed?: number | undefined;
  readonly session?: SessionOptions | undefined;
}

/** What the runtime puts behind names of nodes. */
const TOKEN = /_token_\d+$/;
const RUNTIME: Runtime = RUNTIMES['ort-x86'];

/** Runs the model once with its profiler. Undefined where it has no quantized activations, or the engine has no profiler. */
export async function fusionOf(engine: Engine, model: Model, source: ModelSource, options: FusionOptions): Promise<Fusion | undefined> {
  if (![...walkNodes(model.graph)].some((n) => n.opType === 'QuantizeLinear' || n.opType === 'MatMulInteger')) return undefined;
  try {
    const session = await engine.load(source, { ...options.session, profile: true });
    try {
      const { feeds } = await findFeeds(session, model, { batch: options.batch, shapes: options.shapes, seed: options.seed });
      await session.run(feeds);
      return judgeFusion(model, await session.endProfiling());
    } finally {
      await session.release();
    }
  } catch (error) {
    if (error instanceof PareError && error.code === 'E_UNSUPPORTED') return undefined;
    throw error;
  }
}

/** From the profile of a run: integer kernels counted, and quantized nodes that stayed float with the reason. */
export function judgeFusion(model: Model, times: readonly NodeTime[]): Fusion {
  const kernels: Record<string, number> = {};
  for (const t of times) if (INTEGER_KERNEL.test(t.opType)) kernels[t.opType] = (kernels[t.opType] ?? 0) + 1;
  const ran = new Map(times.map((t) => [t.node.replace(TOKEN, ''), t]));
  const unfused: UnfusedNode[] = [];
  for (const node of walkNodes(model.graph)) {
    const time = ran.get(node.name);
    if (!time || node.name === '') continue;
    const reason = time.opType === node.opType ? reasonFor(node, time) : undefined;
    if (reason !== undefined) unfused.push({ node: node.name, op: node.op, reason });
  }
  return { kernels, unfused };
}

/** Kernels that read or write integers made from float operators or groups of them. */
const INTEGER_KERNEL = /^(QLinear|QGemm|QAttention|MatMulIntegerToFloat|DynamicQuantize(MatMul|LSTM)|ConvInteger|QMoE)/;

function reasonFor(node: Node, time: NodeTime): string | undefined {
  if (node.domain !== '') return undefined;
  if (node.opType === 'MatMulInteger') return whyNotDynamic(node);
  const facts = quantFactsOf(node);
  if (facts === 'none' || !('data' in facts) || !isQuantized(node.input(facts.data[0] ?? 0))) return undefined;
  // Operators that only move values keep their name on integers.
  if (time.inputType !== undefined && time.inputType !== 'float') return undefined;
  if (!isMeantForIntegers(node, facts.kind === 'compute' ? facts.weight : undefined)) return undefined;
  return whyNotStatic(node, facts.data, facts.kind === 'compute' ? facts : undefined);
}

/** Layers left float on purpose have float weights; other nodes that nobody quantized have float results. */
function isMeantForIntegers(node: Node, weight: number | undefined): boolean {
  if (weight !== undefined) return node.input(weight)?.producer?.opType === 'DequantizeLinear';
  return node.outputs.some((v) => v?.uses.some((u) => u.node.opType === 'QuantizeLinear'));
}

/** An activation that comes out of DequantizeLinear. */
function isQuantized(value: Value | null): boolean {
  const dq = value?.producer;
  return dq?.opType === 'DequantizeLinear' && dq.input(0)?.isConstant === false;
}

const WIDE = new Set(['int16', 'uint16', 'int4', 'uint4', 'int2', 'uint2', 'int32']);

function whyNotStatic(
  node: Node,
  data: readonly number[],
  compute: { readonly weight: number; readonly bias: number | null } | undefined,
): string {
  const { opType } = node;
  const kernel = RUNTIME.compute[opType];
  const support = RUNTIME.arithmetic[opType] ?? RUNTIME.functions[opType] ?? RUNTIME.passthrough[opType];
  if (!kernel && !support) return `the runtime has no integer kernel for ${opType}`;
  const verdict = support?.(node);
  if (typeof verdict === 'string') return verdict;
  const operands = opType === 'Concat' ? node.inputs.map((_, i) => i) : [...data, ...(compute ? [compute.weight] : [])];
  for (const index of operands) {
    const value = node.input(index);
    const what = compute?.weight === index ? 'its weight' : `its operand ${value?.name}`;
    const dq = value?.producer;
    if (dq?.opType !== 'DequantizeLinear') return `${what} is float: all operands must come from DequantizeLinear`;
    const type = codesType(dq);
    if (type && WIDE.has(type)) return `${what} is ${type}: integer kernels take 8 bits`;
    if (dq.hasAttribute('block_size')) return `${what} has scales by block: integer kernels take one for the tensor or for each channel`;
    if (compute?.weight === index && kernel?.explicitZeroPoint && !dq.input(2))
      return `the DequantizeLinear of ${what} has no zero point: ${opType} is fused only with one, though it be 0`;
  }
  const bias = compute?.bias == null ? null : node.input(compute.bias);
  if (bias && kernel?.bias === 'int32') {
    const codes = bias.producer?.opType === 'DequantizeLinear' ? codesType(bias.producer) : 'float';
    if (codes !== 'int32') return `its bias is ${codes}: the kernel takes int32 in steps of data scale times weight scale`;
  }
  const needsOutput = kernel ? kernel.output === 'required' : true;
  return (needsOutput ? outputProblem(node) : undefined) ?? `the runtime kept ${opType} in float, for no reason that its Q/DQ shows`;
}

function outputProblem(node: Node): string | undefined {
  for (const value of node.outputs) {
    if (!value) continue;
    if (value.isGraphOutput) return `its result ${value.name} is an output of the model and stays float: the kernel answers integers only`;
    const floats = value.uses.filter((u) => u.node.opType !== 'QuantizeLinear');
    if (floats.length === 0 && value.uses.length === 1) continue;
    if (floats.length > 0)
      return `its result ${value.name} is read in float by ${[...new Set(floats.map((u) => u.node.label))].join(', ')}`;
    return `its result ${value.name} is quantized ${value.uses.length} times with different scales`;
  }
  return undefined;
}

/** Type of the codes that a DequantizeLinear reads: that of its zero point, constant or QuantizeLinear. */
function codesType(dq: Node): string | undefined {
  const codes = dq.input(0);
  const q = codes?.producer?.opType === 'QuantizeLinear' ? codes.producer : undefined;
  return codes?.initializer?.dtype ?? dq.input(2)?.initializer?.dtype ?? q?.input(2)?.initializer?.dtype;
}

/** MatMulInteger is taken in together with the Cast and the Mul behind it. */
function whyNotDynamic(node: Node): string {
  const sums = node.output();
  if (!node.input(0)?.producer || node.input(0)!.producer!.opType !== 'DynamicQuantizeLinear')
    return 'its data does not come from DynamicQuantizeLinear';
  const cast = sums.uses.length === 1 ? sums.uses[0]!.node : undefined;
  if (cast?.opType !== 'Cast') return 'its sums are read by something else than one Cast';
  const mul = cast.output().uses.length === 1 ? cast.output().uses[0]!.node : undefined;
  if (mul?.opType !== 'Mul') return 'its sums are not scaled by one Mul behind the Cast';
  const scale = mul.input(0) === cast.output() ? mul.input(1) : mul.input(0);
  if (scale?.producer?.opType !== 'Mul') return 'its scale is not the product of data scale and weight scales';
  return 'the runtime kept MatMulInteger, Cast and Mul apart, for no reason that their form shows';
}
