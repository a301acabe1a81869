// Running a model that does not fit into memory: the graph is cut into consecutive blocks of bounded weight bytes, and all samples go through one
// block after the other. Only one block's weights and the values that later blocks read are in memory at a time.
import type { Node, Value } from '../ir/graph.js';
import { Model } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import { extractGraph, valuesRead } from '../ir/walk.js';
import { checkAborted } from './batches.js';
import type { Engine, SessionOptions } from './engine.js';
import { openSession } from './session.js';

export interface BlockOptions {
  /** Weight bytes of one block at most; a single node may have more. */
  readonly maxBytes: number;
  readonly session?: SessionOptions | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each block with the fraction done. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/**
 * Outputs of the model for each feed, as a session of the whole model would give them. Types of the values must be known (`inferShapes`).
 * Throws what opening and running sessions throws.
 */
export async function runInBlocks(
  engine: Engine,
  model: Model,
  feeds: readonly Readonly<Record<string, Tensor>>[],
  options: BlockOptions,
): Promise<Record<string, Tensor>[]> {
  const blocks = cutIntoBlocks(model.graph.nodes, options.maxBytes);
  const lastUse = lastUses(model, blocks);
  const live = feeds.map((feed) => new Map(Object.entries(feed)));
  for (const [index, block] of blocks.entries()) {
    checkAborted(options.signal);
    const outputs = block.flatMap((n) => n.outputs.filter((v): v is Value => v !== null && (lastUse.get(v) ?? -1) > index));
    const part = new Model(extractGraph(model.graph, block, outputs), model.opsets, model.irVersion);
    part.functions = model.functions;
    const session = await openSession(engine, part, { ...options.session, frugal: true });
    try {
      const names = part.graph.inputs.map((v) => v.name);
      for (const values of live) {
        const found = await session.run(Object.fromEntries(names.map((name) => [name, values.get(name)!])));
        for (const [name, tensor] of Object.entries(found)) values.set(name, tensor);
      }
    } finally {
      await session.release();
    }
    for (const [value, last] of lastUse) if (last === index) for (const values of live) values.delete(value.name);
    options.onProgress?.((index + 1) / blocks.length);
  }
  return live.map((values) => Object.fromEntries(model.graph.outputs.map((v) => [v.name, values.get(v.name) ?? constantOutput(v)])));
}

function constantOutput(value: Value): Tensor {
  return value.initializer!;
}

/** Consecutive nodes whose constants take at most `maxBytes` together. */
export function cutIntoBlocks(nodes: readonly Node[], maxBytes: number): Node[][] {
  const blocks: Node[][] = [];
  let counted = new Set<Value>();
  let bytes = Number.POSITIVE_INFINITY;
  for (const node of nodes) {
    const constants = valuesRead([node]).filter((v) => v.isConstant);
    const added = constants.filter((v) => !counted.has(v)).reduce((sum, v) => sum + v.initializer!.byteLength, 0);
    if (bytes + added > maxBytes) {
      blocks.push([]);
      counted = new Set();
      bytes = 0;
    }
    for (const v of constants) {
      if (!counted.has(v)) bytes += v.initializer!.byteLength;
      counted.add(v);
    }
    blocks.at(-1)!.push(node);
  }
  return blocks;
}

/** Number of the last block that reads each value that is not constant; graph outputs are never let go. */
function lastUses(model: Model, blocks: readonly (readonly Node[])[]): Map<Value, number> {
  const last = new Map<Value, number>();
  blocks.forEach((block, index) => {
    for (const value of valuesRead(block)) if (!value.isConstant) last.set(value, index);
  });
  for (const output of model.graph.outputs) last.set(output, Number.POSITIVE_INFINITY);
  return last;
}
