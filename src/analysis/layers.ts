// Layer-by-layer comparison of two models that share value names, as an original and its compressed form do.
// Runs both on the same batches with inner values exposed, a few layers at a time so that memory stays bounded.

import type { Dataset } from '../data/dataset.js';
import { byteLengthOf } from '../ir/dtype.js';
import type { Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { isStatic } from '../ir/type.js';
import type { Engine, SessionOptions } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { DifferenceAccumulator, type OutputDifference } from './difference.js';

/** One layer of the comparison of two models, matched by the name of its output. */
export interface LayerComparison {
  /** Name of the value compared. */
  readonly name: string;
  /** Node of the original that computes it. */
  readonly node: string;
  readonly op: string;
  readonly difference: OutputDifference;
  /** Bytes of the constants between the layers before this one and its output, in either model. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

export interface LayerOptions {
  readonly samples?: number;
  readonly batchSize?: number;
  readonly session?: SessionOptions;
  /** Bytes of inner values held at a time (default 256 MB). */
  readonly memoryBytes?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (fraction: number) => void;
}

const DEFAULT_MEMORY = 256 * 1024 * 1024;
/** Assumed size of an inner value whose shape is not known before running. */
const UNKNOWN_VALUE_BYTES = 4 * 1024 * 1024;
/** Operators that only move or rename data: their difference repeats their input's. */
const MOVEMENT = new Set([
  'Identity',
  'Reshape',
  'Flatten',
  'Transpose',
  'Squeeze',
  'Unsqueeze',
  'QuantizeLinear',
  'DequantizeLinear',
  'Cast',
  'Shape',
  'Constant',
]);

/** Compares every value of the main graphs that exists under the same name in both, in the order of the original. */
export async function compareLayers(
  engine: Engine,
  a: Model,
  b: Model,
  data: Dataset,
  options: LayerOptions = {},
): Promise<LayerComparison[]> {
  const pairs = matchLayers(a, b);
  const limit = options.samples ?? 16;
  const batchSize = options.batchSize ?? 1;
  const matched = new Set(pairs.map((p) => p.before.name));
  const chunks = chunkByMemory(pairs, options.memoryBytes ?? DEFAULT_MEMORY);
  const found: LayerComparison[] = [];
  for (const [index, chunk] of chunks.entries()) {
    const names = chunk.map((p) => p.before.name);
    const sessionA = await openSession(engine, a, { ...options.session, outputs: names });
    const sessionB = await openSession(engine, b, { ...options.session, outputs: names });
    try {
      const differences = chunk.map((p) => new DifferenceAccumulator(p.before.name));
      for await (const batch of data.batches({ batchSize, limit })) {
        options.signal?.throwIfAborted();
        const x = await sessionA.run(batch.inputs, names);
        const y = await sessionB.run(batch.inputs, names);
        for (const d of differences) d.add(x[d.name]!, y[d.name]!);
      }
      found.push(...chunk.map((pair, i) => layerOf(pair, differences[i]!.result(), matched)));
    } finally {
      await sessionA.release();
      await sessionB.release();
    }
    options.onProgress?.((index + 1) / chunks.length);
  }
  return found;
}

interface Pair {
  readonly before: Value;
  readonly after: Value;
}

function matchLayers(a: Model, b: Model): Pair[] {
  const pairs: Pair[] = [];
  for (const node of a.graph.nodes) {
    if (MOVEMENT.has(node.opType)) continue;
    const before = node.outputs[0];
    const after = before && b.graph.ownValue(before.name);
    if (!before || !after?.producer) continue;
    if (before.type?.kind === 'tensor' && before.type.dtype !== 'float' && before.type.dtype !== 'float16') continue;
    if (extentsDiffer(before, after)) continue;
    pairs.push({ before, after });
  }
  return pairs;
}

/** True for values that pruning made narrower: their elements cannot be set side by side. */
function extentsDiffer(a: Value, b: Value): boolean {
  const [x, y] = [tensorTypeOf(a)?.shape, tensorTypeOf(b)?.shape];
  if (!x || !y) return false;
  return x.length !== y.length || x.some((d, i) => typeof d === 'number' && typeof y[i] === 'number' && d !== y[i]);
}

function chunkByMemory(pairs: readonly Pair[], memory: number): Pair[][] {
  const chunks: Pair[][] = [];
  let room = 0;
  for (const pair of pairs) {
    const bytes = valueBytes(pair.before) * 2;
    if (chunks.length === 0 || bytes > room) {
      chunks.push([]);
      room = memory;
    }
    chunks.at(-1)!.push(pair);
    room -= bytes;
  }
  return chunks;
}

function valueBytes(value: Value): number {
  const { type } = value;
  if (type?.kind !== 'tensor' || !isStatic(type.shape)) return UNKNOWN_VALUE_BYTES;
  return byteLengthOf(
    type.dtype,
    type.shape.reduce((n, d) => n * d, 1),
  );
}

function layerOf({ before, after }: Pair, difference: OutputDifference, matched: ReadonlySet<string>): LayerComparison {
  return {
    name: before.name,
    node: before.producer!.label,
    op: before.producer!.op,
    difference,
    bytesBefore: constantBytesBehind(before, matched),
    bytesAfter: constantBytesBehind(after, matched),
  };
}

/**
 * Bytes of the constants that go into a value on the way from the layers before it: of its own node, of nodes that were folded into it or that it was
 * split into, and of dequantization in between.
 */
function constantBytesBehind(value: Value, matched: ReadonlySet<string>): number {
  const seen = new Set<Value>();
  const bytes = (v: Value | null): number => {
    if (!v || seen.has(v)) return 0;
    seen.add(v);
    if (v.initializer) return v.initializer.byteLength;
    if (v !== value && matched.has(v.name)) return 0;
    return (v.producer?.inputs ?? []).reduce((sum, input) => sum + bytes(input), 0);
  };
  return bytes(value);
}
