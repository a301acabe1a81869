// Rotary position embedding (Su et al. 2021): pairs of features turn by an angle that grows with the position,
// (a, b) -> (a cos - b sin, a sin + b cos). Pairs are the halves of the turned width, or neighbours (interleaved).

import type { Value } from '../ir/graph.js';
import { dimsOf, type GradBuilder } from './grad-builder.js';
import type { DecomposeContext, DecomposeFn } from './op.js';

/** Turns x [batch, heads, length, width] by tables that broadcast to [batch, heads, length, turned / 2]; features beyond them stay. */
export function rotate(b: GradBuilder, x: Value, cos: Value, sin: Value, interleaved: boolean): Value {
  const dims = dimsOf(x);
  const width = dims[3]!;
  const half = dimsOf(cos)[3]!;
  const turned = 2 * half;
  const part = turned < width ? b.slice(x, [3], [0], [turned]) : x;
  const outer = dims.slice(0, 3);
  const pairs = interleaved ? b.reshape(part, [...outer, half, 2]) : part;
  const pick = (i: number): Value =>
    interleaved ? b.reshape(b.slice(pairs, [4], [i], [i + 1]), [...outer, half]) : b.slice(part, [3], [i * half], [(i + 1) * half]);
  const [p, q] = [pick(0), pick(1)];
  const results = [b.sub(b.mul(p, cos), b.mul(q, sin)), b.add(b.mul(p, sin), b.mul(q, cos))];
  const column = (v: Value) => b.reshape(v, [...outer, half, 1]);
  const y = interleaved ? b.reshape(b.concat(results.map(column), 4), [...outer, turned]) : b.concat(results, 3);
  return turned < width ? b.concat([y, b.slice(x, [3], [turned], [width])], 3) : y;
}

interface Inputs {
  readonly cos: number;
  readonly sin: number;
  readonly positions: number;
}

/** Positions are a matrix [batch, length], one start for all, or none where the tables are per position already. */
function decomposeRotary({ cos, sin, positions }: Inputs): DecomposeFn {
  return (ctx) => {
    const { b, node } = ctx;
    const x = ctx.input(0);
    const dims = dimsOf(x);
    const packed = dims.length === 3;
    const half = dimsOf(ctx.input(cos)).at(-1)!;
    const width = 2 * half;
    const heads = node.int('num_heads', 0) || (packed ? dims[2]! / width : dims[1]!);
    const apart = packed ? b.transpose(b.reshape(x, [dims[0]!, dims[1]!, heads, dims[2]! / heads]), [0, 2, 1, 3]) : x;
    const [batch, , length] = dimsOf(apart) as readonly [number, number, number];
    const table = (i: number): Value => {
      const rows = ctx.has(positions) ? b.op('Gather', [ctx.input(i), places(ctx, positions, batch, length)]) : ctx.input(i);
      return b.reshape(rows, [batch, 1, length, half]);
    };
    const y = rotate(b, apart, table(cos), table(sin), node.int('interleaved', 0) !== 0);
    const scaled = b.scale(y, node.float('scale', 1));
    return [packed ? b.reshape(b.transpose(scaled, [0, 2, 1, 3]), dims) : scaled];
  };
}

function places({ b, input }: DecomposeContext, index: number, batch: number, length: number): Value {
  const ids = input(index);
  if (dimsOf(ids).length === 2) return ids;
  const steps = b.ints(
    'places',
    Array.from({ length }, (_, i) => i),
  );
  return b.expand(b.reshape(b.add(ids, steps), [1, length]), [batch, length]);
}

export const decomposeOnnxRotary = decomposeRotary({ cos: 1, sin: 2, positions: 3 });
export const decomposeContribRotary = decomposeRotary({ cos: 2, sin: 3, positions: 1 });
