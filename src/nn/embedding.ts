// Token and position embeddings, and an output layer that reads the token table transposed (tied weights: Press and Wolf 2017).
import type { Value } from '../ir/graph.js';
import { type Initializer, normal } from './init.js';
import type { Scope } from './scope.js';

export interface EmbeddingOptions {
  /** Rows of the table: ids are 0 .. size - 1. */
  readonly size: number;
  readonly features: number;
  /** Default normal with deviation 0.02. */
  readonly init?: Initializer | undefined;
}

export interface Embedded {
  /** [...ids, features]. */
  readonly output: Value;
  /** The table [size, features], parameter `weight`: for `tiedOutput`. */
  readonly table: Value;
}

/** Looks int64 ids up in a table. */
export function embedding(scope: Scope, ids: Value, { size, features, init = normal(0.02) }: EmbeddingOptions): Embedded {
  const table = scope.parameter('weight', [size, features], { init });
  return { output: scope.op('Gather', [table, ids], { axis: 0 }, { name: '' }), table };
}

/** Scores of all ids, [..., features] to [..., size], by the very table of the embedding: one initializer serves both. */
export function tiedOutput(scope: Scope, x: Value, table: Value): Value {
  return scope.op('MatMul', [x, scope.op('Transpose', [table], { perm: [1, 0] })], {}, { name: '' });
}

/** 0, 1, 2, ... along the axis `axis` of `x`, int64 [length]: follows sequences of any length. */
export function positions(scope: Scope, x: Value, axis = 1): Value {
  const length = scope.op('Shape', [x], { start: axis, end: axis + 1 });
  return scope.op('Range', [scope.int(0), scope.op('Squeeze', [length]), scope.int(1)]);
}
