// Observers that decide by more than extremes: entropy against the divergence counted directly, the automatic choice against the rules it chooses from,
// and statistics of batches of unequal size.
import { describe, expect, it } from 'vitest';
import { Rng } from '../util/rng.js';
import { Distribution, gridOf } from './clipping.js';
import { OBSERVERS, type ObserverName, type Range } from './observers.js';
import { emptyStatistics, observe, statisticsToJson, type ValueStatistics } from './statistics.js';

const UINT8 = { dtype: 'uint8', symmetry: 'asymmetric' } as const;
const OPTIONS = { scheme: UINT8, percentile: 99.99 };

function sample(n: number, seed: number, make: (rng: Rng, i: number) => number): Float32Array {
  const rng = new Rng(seed);
  return Float32Array.from({ length: n }, (_, i) => make(rng, i));
}

function seen(...batches: Float32Array[]): ValueStatistics {
  const s = emptyStatistics();
  for (const b of batches)
    observe(
      s,
      b.reduce((x, y) => Math.min(x, y)),
      b.reduce((x, y) => Math.max(x, y)),
      b,
    );
  return s;
}

const KINDS: Record<string, Float32Array> = {
  gaussian: sample(20_000, 1, (r) => r.normal()),
  'behind ReLU': sample(20_000, 2, (r) => Math.max(0, r.normal())),
  'one wild value': sample(20_000, 3, (r, i) => (i === 77 ? 300 : r.normal())),
  'heavy tails': sample(20_000, 4, (r) => r.normal() ** 5),
  even: sample(20_000, 5, (r) => r.uniform()),
};

/** Information in nats that is lost about the values other than zero: counted on the values themselves, in 4,096 bins over the whole range. */
function divergence(x: Float32Array, range: Range): number {
  const { lo, hi, scale } = gridOf(range, UINT8);
  const ends: [number, number] = [lo, hi];
  for (const v of x) {
    ends[0] = Math.min(ends[0], v);
    ends[1] = Math.max(ends[1], v);
  }
  const width = (ends[1] - ends[0]) / 4096;
  // What is cut off is added to the outermost values inside.
  const within = x.filter((v) => v >= lo - scale / 2 && v <= hi + scale / 2);
  const [first, last] = [within.reduce((a, b) => Math.min(a, b)), within.reduce((a, b) => Math.max(a, b))];
  const p = new Float64Array(4097);
  const inside = new Float64Array(4097);
  let total = 0;
  let kept = 0;
  for (const v of x) {
    if (v === 0) continue;
    const clipped = Math.min(last, Math.max(first, v));
    p[Math.floor((clipped - ends[0]) / width)]!++;
    total++;
    if (v >= first && v <= last) {
      inside[Math.floor((clipped - ends[0]) / width)]!++;
      kept++;
    }
  }
  const code = (bin: number) => Math.round((ends[0] + (bin + 0.5) * width - lo) / scale);
  const mass = new Map<number, { sum: number; bins: number }>();
  for (let i = 0; i < p.length; i++) {
    if (p[i] === 0) continue;
    const m = mass.get(code(i)) ?? { sum: 0, bins: 0 };
    mass.set(code(i), { sum: m.sum + inside[i]!, bins: m.bins + 1 });
  }
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    if (p[i] === 0) continue;
    const { sum: all, bins } = mass.get(code(i))!;
    sum += (p[i]! / total) * Math.log(p[i]! / total / (all / bins / kept));
  }
  return sum;
}

describe('entropy', () => {
  it.each(['one wild value', 'heavy tails'])('loses less information than the whole range: %s', (kind) => {
    const x = KINDS[kind]!;
    const s = seen(x);
    const [whole, chosen] = [OBSERVERS.minmax.range(s, OPTIONS), OBSERVERS.entropy.range(s, OPTIONS)];
    expect(divergence(x, chosen)).toBeLessThan(divergence(x, whole) / 2);
  });

  it('does not mind how many zeros a ReLU leaves', () => {
    const x = sample(5_000, 7, (r) => Math.abs(r.normal()) ** 3);
    const few = OBSERVERS.entropy.range(seen(x), OPTIONS);
    const many = OBSERVERS.entropy.range(seen(x, new Float32Array(95_000)), OPTIONS);
    expect(many).toEqual(few);
  });

  it('chooses as for one batch whatever the batches', () => {
    const x = KINDS['heavy tails']!;
    expect(OBSERVERS.entropy.range(seen(x.subarray(0, 13), x.subarray(13, 9_000), x.subarray(9_000)), OPTIONS)).toEqual(
      OBSERVERS.entropy.range(seen(x), OPTIONS),
    );
  });
});

describe('auto', () => {
  const errors = (s: ValueStatistics, range: Range) => {
    const { lo, hi, scale } = gridOf(range, UINT8);
    const d = new Distribution(s.histogram!);
    return { square: d.squaredError(lo, hi, scale), fourth: d.fourthPowerError(lo, hi, scale) };
  };

  it.each(Object.keys(KINDS))('is beaten in both errors at once by none of the rules it chooses from: %s', (kind) => {
    const s = seen(...[0, 1, 2, 3].map((i) => KINDS[kind]!.subarray(i * 5_000, (i + 1) * 5_000)));
    const own = errors(s, OBSERVERS.auto.range(s, OPTIONS));
    for (const name of ['minmax', 'moving-average', 'percentile', 'entropy', 'mse'] as const satisfies readonly ObserverName[]) {
      const other = errors(s, OBSERVERS[name].range(s, OPTIONS));
      expect(other.square < own.square && other.fourth < own.fourth, name).toBe(false);
    }
  });

  it('takes the whole of a bell, whose few far values weigh most, and the least squares of an even spread', () => {
    const whole = seen(KINDS.even!);
    const even = OBSERVERS.auto.range(whole, OPTIONS);
    expect(even.max).toBeGreaterThan(0.98);
    expect(even).toEqual(OBSERVERS.mse.range(whole, OPTIONS));
    const bell = seen(KINDS.gaussian!);
    expect(OBSERVERS.auto.range(bell, OPTIONS)).toEqual(OBSERVERS.minmax.range(bell, OPTIONS));
  });

  it('takes extremes where there is no histogram', () => {
    const s = emptyStatistics();
    observe(s, -2, 3);
    expect(OBSERVERS.auto.range(s, OPTIONS)).toEqual({ min: -2, max: 3 });
  });
});

it('batches of unequal size make the same extremes and histogram as one', () => {
  const x = KINDS.gaussian!;
  const parts = seen(x.subarray(0, 1), x.subarray(1, 8), x.subarray(8, 19_000), x.subarray(19_000));
  const own = (s: ValueStatistics) => {
    const { min, max, histogram } = statisticsToJson(new Map([['x', s]])).x!;
    return { min, max, histogram };
  };
  expect(own(parts)).toEqual(own(seen(x)));
  expect(parts.batches).toBe(4);
});
