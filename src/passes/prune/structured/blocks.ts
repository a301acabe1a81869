// Whole residual blocks: where y = x + f(x) and nothing else reads the inside of f, the sum can be replaced by x. A transformer layer is two of them.
// How much a block does is the angle between x and y on data (ShortGPT, Men et al. 2024), or without data the size of its weights.
import type { Dataset } from '../../../data/dataset.js';
import { usageError } from '../../../errors.js';
import { Builder } from '../../../ir/builder.js';
import type { Node, Value } from '../../../ir/graph.js';
import { type Model, tensorTypeOf } from '../../../ir/model.js';
import { tensorType } from '../../../ir/type.js';
import { cloneModel } from '../../../ir/walk.js';
import { batchSizeOf } from '../../../quant/calibrate.js';
import type { Engine } from '../../../runtime/engine.js';
import { openSession } from '../../../runtime/session.js';

export interface ResidualBlock {
  /** Label of the sum. */
  readonly name: string;
  readonly input: Value;
  readonly sum: Node;
  /** Nodes inside, the sum not counted. */
  readonly nodes: number;
  /** Elements of the constants that only the block reads. */
  readonly params: number;
}

/** Blocks of the main graph in order. Types must be inferred: only sums of equal shapes count. */
export function residualBlocks(model: Model): ResidualBlock[] {
  const blocks: ResidualBlock[] = [];
  for (const sum of model.graph.nodes) {
    if (sum.opType !== 'Add' || sum.domain !== '') continue;
    for (const side of [0, 1]) {
      const [input, branch] = [sum.input(side), sum.input(1 - side)];
      if (!input || !branch || input.isConstant || branch.isConstant || !sameShape(input, sum.output()) || !sameShape(branch, input))
        continue;
      const inside = branchNodes(input, branch, sum);
      if (!inside) continue;
      blocks.push({ name: sum.label, input, sum, nodes: inside.size, params: ownParams(inside) });
      break;
    }
  }
  return blocks;
}

/** Nodes between `input` and `branch`; undefined where the branch does not start at the input, or where its inside is read elsewhere. */
function branchNodes(input: Value, branch: Value, sum: Node): Set<Node> | undefined {
  const descends = new Map<Node, boolean>();
  const fromInput = (node: Node): boolean => {
    const known = descends.get(node);
    if (known !== undefined) return known;
    descends.set(node, false);
    const found = node.inputs.some((v) => v === input || (v?.producer != null && fromInput(v.producer)));
    descends.set(node, found);
    return found;
  };
  if (!branch.producer || !fromInput(branch.producer)) return undefined;
  const inside = new Set([...descends].flatMap(([node, found]) => (found ? [node] : [])));
  const closed = [...inside].every((node) =>
    node.outputs.every((o) => !o || (!o.isGraphOutput && o.users.every((u) => u === sum || inside.has(u)))),
  );
  return closed ? inside : undefined;
}

function ownParams(nodes: ReadonlySet<Node>): number {
  const constants = new Set([...nodes].flatMap((n) => n.inputs.filter((v) => v?.isConstant && v.users.every((u) => nodes.has(u)))));
  return [...constants].reduce((sum, v) => sum + v!.initializer!.size, 0);
}

function sameShape(a: Value, b: Value): boolean {
  const [x, y] = [tensorTypeOf(a)?.shape, tensorTypeOf(b)?.shape];
  return x != null && y != null && x.length === y.length && x.every((d, i) => d !== null && d === y[i]);
}

/** Takes blocks out, by name. What only they needed goes with them. Throws E_USAGE for a name that is none. */
export function removeBlocks(model: Model, names: readonly string[]): number {
  const { graph } = model;
  for (const name of names) {
    const known = residualBlocks(model);
    const block = known.find((b) => b.name === name);
    if (!block) {
      throw usageError(
        `blocks: expected one of ${known.map((b) => b.name).join(', ') || 'none (the model has no residual blocks)'}, got ${name}`,
      );
    }
    graph.replaceValue(block.sum.output(), block.input);
    removeUnread(block.sum);
  }
  graph.pruneValues();
  return names.length;
}

function removeUnread(node: Node): void {
  if (node.outputs.some((o) => o && o.readerCount > 0)) return;
  const sources = node.inputs.map((v) => v?.producer).filter((n) => n != null);
  node.graph.removeNode(node);
  for (const source of new Set(sources)) if (source.graph === node.graph) removeUnread(source);
}

/** 1 - cosine of x and y, mean over samples and positions: what the block turns. Without data the number of its weights. */
export async function blockInfluence(
  model: Model,
  blocks: readonly ResidualBlock[],
  options: { readonly engine: Engine; readonly threads?: number | undefined; readonly data: Dataset | undefined; readonly samples: number },
): Promise<number[]> {
  if (!options.data) return blocks.map((b) => b.params);
  const copy = cloneModel(model);
  const b = new Builder(copy.graph, { prefix: 'influence_' });
  const own = (v: Value) => copy.graph.ownValue(v.name)!;
  const names = blocks.map((block, i) => {
    const [x, y] = [own(block.input), own(block.sum.output())];
    const total = (v: Value) => b.op('ReduceSum', [v], { keepdims: 0 });
    const dot = total(b.op('Mul', [x, y]));
    const norms = b.op('Sqrt', [b.op('Mul', [total(b.op('Mul', [x, x])), total(b.op('Mul', [y, y]))])]);
    const cosine = b.op('Div', [dot, norms]);
    copy.graph.rename(cosine, copy.graph.freshName(`influence_${i}`));
    cosine.type = tensorType('float', []);
    return cosine.name;
  });
  const sums = names.map(() => 0);
  let runs = 0;
  const session = await openSession(options.engine, copy, { threads: options.threads, outputs: names });
  try {
    for await (const batch of options.data.batches({ batchSize: batchSizeOf(model.graph), limit: options.samples })) {
      const results = await session.run(batch.inputs, names);
      names.forEach((name, i) => {
        sums[i]! += 1 - results[name]!.floats()[0]!;
      });
      runs++;
    }
  } finally {
    await session.release();
  }
  return sums.map((s) => s / Math.max(1, runs));
}
