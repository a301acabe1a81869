// Nodes that depend on constants alone are computed once, by the engine, and their results stored. Results that shape inference already
// knows element by element need no engine. Weights of quantized models stay quantized, tied ones stay one, and the file does not grow beyond the cap.
import { byteLengthOf } from '../../ir/dtype.js';
import type { Graph, Node, Value } from '../../ir/graph.js';
import { type Model, tensorTypeOf } from '../../ir/model.js';
import { elementCount, Tensor } from '../../ir/tensor.js';
import { type Dim, isStatic } from '../../ir/type.js';
import { walkGraphs, walkNodes } from '../../ir/walk.js';
import type { PartialValue } from '../../ops/op.js';
import { opRecord } from '../../ops/registry.js';
import type { Engine } from '../../runtime/engine.js';
import { evaluateConstants } from '../../runtime/evaluate.js';
import { isQuantizer } from './facts.js';

/** Results up to this many bytes are stored whatever they replace. */
const ALWAYS_BYTES = 4096;

/** Replaces an output by a constant of the same name. The producer is left for dead-code removal. */
function settle(value: Value, tensor: Tensor): void {
  const { graph, name } = value;
  const constant = graph.addInitializer(`${name}_folded`, tensor);
  graph.replaceValue(value, constant);
  graph.rename(value, graph.freshName(`${name}_dead`));
  graph.rename(constant, name);
}

/** Stores every value whose content inference knows completely. Returns how many. */
export function foldKnownValues(model: Model, values: ReadonlyMap<Value, PartialValue>): number {
  let count = 0;
  for (const graph of walkGraphs(model.graph)) {
    for (const node of graph.nodes) {
      if (node.opType === 'Constant' || isQuantizer(node)) continue;
      for (const output of node.outputs) {
        const known = output && values.get(output);
        if (!known || !isFoldable(output) || !isComplete(known)) continue;
        settle(output, Tensor.from(known.dtype, known.dims, known.items as number[]));
        count++;
      }
    }
  }
  return count;
}

/** A graph output needs a node; an unread value needs nothing. */
function isFoldable(value: Value): boolean {
  return !value.isGraphOutput && value.uses.length > 0;
}

/** Followed integers are clamped to what a number holds exactly; at that border the engine must do it. */
function isComplete(known: PartialValue): boolean {
  const exact = (x: Dim) => typeof x === 'number' && Number.isFinite(x) && Math.abs(x) < Number.MAX_SAFE_INTEGER;
  return known.items.length > 0 && known.items.every(exact) && known.dtype !== 'string';
}

export interface FoldResult {
  readonly folded: number;
  /** Values left to be computed at run time, and why. */
  readonly kept: readonly { readonly value: Value; readonly reason: string }[];
  /** Bytes by which the constants grew. */
  readonly grownBytes: number;
}

/** Values known not to fold, so that later rounds do not ask the engine again. */
export type Refused = Set<Value>;

/** Folds through the engine, in one session. `budgetBytes` is how much the constants may still grow. */
export async function foldConstants(
  model: Model,
  engine: () => Engine,
  options: {
    readonly budgetBytes: number;
    readonly threads?: number | undefined;
    readonly refused: Refused;
    /** Do not store a constant once more in another order while others read it as it is: runtimes turn it when they load the model. */
    readonly keepTied: boolean;
  },
): Promise<FoldResult> {
  const foldable = new Set<Node>();
  const frontier: Value[] = [];
  for (const graph of walkGraphs(model.graph)) {
    for (const node of graph.nodes) if (dependsOnConstants(model, node, foldable)) foldable.add(node);
  }
  for (const node of foldable) {
    for (const output of node.outputs) {
      if (output && isFoldable(output) && !options.refused.has(output) && output.uses.some((u) => !foldable.has(u.node)))
        frontier.push(output);
    }
  }
  const kept: { value: Value; reason: string }[] = [];
  const chosen: Value[] = [];
  let grown = 0;
  for (const value of frontier) {
    const growth = growthOf(value, foldable);
    const tied = options.keepTied && growth && growth.bytes > ALWAYS_BYTES ? tiedSource(value, foldable) : undefined;
    if (tied) {
      kept.push({ value, reason: `"${tied.name}" has other readers, and would be stored twice` });
      options.refused.add(value);
    } else if (growth === undefined) chosen.push(value);
    else if (growth.bytes <= ALWAYS_BYTES || grown + growth.growth <= options.budgetBytes) {
      grown += Math.max(0, growth.growth);
      chosen.push(value);
    } else {
      kept.push({ value, reason: `storing its ${growth.bytes} bytes would grow the model by ${growth.growth}` });
      options.refused.add(value);
    }
  }
  if (chosen.length === 0) return { folded: 0, kept, grownBytes: 0 };
  const evaluated = await evaluateConstants(engine(), model, chosen, {
    threads: options.threads,
    maxBytes: Math.max(options.budgetBytes, ...chosen.map((v) => bytesOf(v) ?? 0), ALWAYS_BYTES),
  });
  for (const [value, tensor] of evaluated.tensors) settle(value, tensor);
  for (const [value, reason] of evaluated.failures) {
    kept.push({ value, reason });
    options.refused.add(value);
  }
  return { folded: evaluated.tensors.size, kept, grownBytes: grown };
}

function dependsOnConstants(model: Model, node: Node, foldable: ReadonlySet<Node>): boolean {
  if (node.opType === 'Constant' || isQuantizer(node) || node.outputs.length === 0) return false;
  const record = opRecord(node.domain, node.opType);
  // What Pare does not know could do anything, from random numbers to reading files.
  if (record === undefined || record.nondeterministic === true || model.functionOf(node)) return false;
  const settled = (v: Value | null) => v === null || v.isConstant || (v.producer !== null && foldable.has(v.producer));
  if (!node.inputs.every(settled)) return false;
  return node.subgraphs().every((sub) => capturesOnly(sub, settled));
}

function capturesOnly(sub: Graph, settled: (v: Value) => boolean): boolean {
  const inner = new Set(walkGraphs(sub));
  for (const node of walkNodes(sub)) {
    if (
      opRecord(node.domain, node.opType)?.nondeterministic !== false &&
      opRecord(node.domain, node.opType)?.nondeterministic !== undefined
    )
      return false;
    for (const input of node.inputs) if (input && !inner.has(input.graph) && !settled(input)) return false;
  }
  for (const graph of inner) for (const output of graph.outputs) if (!inner.has(output.graph) && !settled(output)) return false;
  return true;
}

function bytesOf(value: Value): number | undefined {
  const type = tensorTypeOf(value);
  if (!type || !isStatic(type.shape) || type.dtype === 'string') return undefined;
  return byteLengthOf(type.dtype, elementCount(type.shape));
}

const MOVES = new Set(['Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Identity']);

/** The constant whose elements a value holds in another order, where something that is not folded reads it too. */
function tiedSource(value: Value, foldable: ReadonlySet<Node>): Value | undefined {
  let at: Value | null = value;
  while (at?.producer) {
    const node: Node = at.producer;
    if (node.domain !== '' || !MOVES.has(node.opType)) return undefined;
    at = node.input(0);
  }
  const source = at?.isConstant ? at : undefined;
  return source && (source.isGraphOutput || source.users.some((u) => !foldable.has(u))) ? source : undefined;
}

/** Bytes of the result, and what they add to the model after constants read by nothing else are gone. */
function growthOf(value: Value, foldable: ReadonlySet<Node>): { readonly bytes: number; readonly growth: number } | undefined {
  const bytes = bytesOf(value);
  if (bytes === undefined) return undefined;
  let freed = 0;
  const seen = new Set<Node>();
  const stack = value.producer ? [value.producer] : [];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    for (const input of node.inputs) {
      if (input?.isConstant) {
        if (input.users.every((u) => foldable.has(u)) && input.users.length === 1) freed += input.initializer!.byteLength;
      } else if (input?.producer) stack.push(input.producer);
    }
  }
  return { bytes, growth: bytes - freed };
}
