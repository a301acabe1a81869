// The update rules as nodes of a graph, for engines whose parameters stay on a device (WebGPU, CUDA). On the CPU the fused kernels are many times
// faster (figures in simd.ts). The same formulas in the same order; the runtime may fuse operations, so the last bits can differ.
import type { Value } from '../../ir/graph.js';
import { dimsOf, type GradBuilder } from '../../ops/grad-builder.js';
import { TINY } from './kernels.js';
import type { UpdateRule } from './rules.js';

export interface UpdatedParameter {
  readonly parameter: Value;
  /** One per slot of the rule. */
  readonly slots: readonly Value[];
}

/**
 * Adds the update of one parameter. `slots` are its state tensors, of its shape; `scalars` is a float vector that holds at each step what
 * `rule.scalars` answers; `lr` a float scalar with the learning rate (read by LAMB alone).
 */
export function updateInGraph(
  b: GradBuilder,
  rule: UpdateRule,
  parameter: Value,
  gradient: Value,
  slots: readonly Value[],
  scalars: Value,
  lr: Value,
): UpdatedParameter {
  const s = (index: number): Value => b.reshape(b.slice(scalars, [0], [index], [index + 1]), []);
  const weighted = (a: Value, x: Value, c: Value, y: Value): Value => b.add(b.mul(a, x), b.mul(c, y));
  const flushed = (x: Value): Value => b.mask(b.op('Not', [b.op('Less', [b.op('Abs', [x]), b.number(x, TINY)])]), x);
  const moments = (d: Value, first: number): [Value, Value] => [
    flushed(weighted(s(first), slots[0]!, s(first + 1), d)),
    flushed(weighted(s(first + 2), slots[1]!, s(first + 3), b.mul(d, d))),
  ];
  const quotient = (m: Value, v: Value, at: number): Value => b.div(m, b.add(b.mul(s(at), b.op('Sqrt', [v])), s(at + 1)));
  const p = parameter;
  switch (rule.kernel) {
    case 'sgd':
      return { parameter: b.sub(p, b.mul(s(2), weighted(s(0), gradient, s(1), p))), slots: [] };
    case 'momentum':
    case 'nesterov': {
      const d = weighted(s(0), gradient, s(1), p);
      const next = flushed(weighted(s(3), slots[0]!, s(4), d));
      const direction = rule.kernel === 'nesterov' ? b.add(d, b.mul(s(3), next)) : next;
      return { parameter: b.sub(p, b.mul(s(2), direction)), slots: [next] };
    }
    case 'adam': {
      const [m, v] = moments(weighted(s(0), gradient, s(1), p), 4);
      return { parameter: b.sub(b.mul(s(3), p), b.mul(s(2), quotient(m, v, 8))), slots: [m, v] };
    }
    case 'lion': {
      const d = b.mul(s(0), gradient);
      const direction = b.op('Sign', [weighted(s(3), slots[0]!, s(4), d)]);
      const m = flushed(weighted(s(5), slots[0]!, s(6), d));
      return { parameter: b.sub(b.mul(s(2), p), b.mul(s(1), direction)), slots: [m] };
    }
    case 'lambDirection': {
      const [m, v] = moments(b.mul(s(0), gradient), 3);
      const direction = b.add(quotient(b.mul(s(2), m), v, 7), b.mul(s(1), p));
      const norm = (x: Value) =>
        b.op('Sqrt', [
          b.reduceSum(
            b.mul(x, x),
            dimsOf(x).map((_, i) => i),
            false,
          ),
        ]);
      const [weights, length] = [norm(p), norm(direction)];
      const zero = b.op('Equal', [b.mul(weights, length), b.number(p, 0)]);
      const trust = b.where(zero, b.number(p, 1), b.div(weights, b.where(zero, b.number(p, 1), length)));
      return { parameter: b.sub(p, b.mul(b.mul(lr, trust), direction)), slots: [m, v] };
    }
  }
}
