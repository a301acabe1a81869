// Update rules against their formulas in double precision, plain loops against SIMD to the bit, and everything around the step.
import { describe, expect, test } from 'vitest';
import { Rng } from '../../util/rng.js';
import { Optimizer, type OptimizerOptions, type ParameterSpec, withoutDecay } from './optimizer.js';
import { adam, adamw, lamb, lion, sgd, type UpdateRule } from './rules.js';

const SPECS: readonly ParameterSpec[] = [
  { name: 'weight', dims: [7, 5] },
  { name: 'bias', dims: [7] },
  { name: 'scale', dims: [] },
];

type Vector = number[];
/** A rule in double precision for one tensor; the state is kept in the closure. */
type Reference = (p: Vector, g: Vector, lr: number, decay: number, step: number) => Vector;

const zeros = (n: number) => new Array<number>(n).fill(0);
const norm = (v: Vector) => Math.hypot(...v);

function sgdReference(momentum: number, dampening: number, nesterov: boolean): Reference {
  let b: Vector | undefined;
  return (p, g, lr, decay) => {
    const d = g.map((x, i) => x + decay * p[i]!);
    b = b === undefined ? d : b.map((x, i) => momentum * x + (1 - dampening) * d[i]!);
    const u = momentum === 0 ? d : nesterov ? d.map((x, i) => x + momentum * b![i]!) : b;
    return p.map((x, i) => x - lr * u[i]!);
  };
}

function adamReference(kind: 'adam' | 'adamw' | 'lamb', beta1: number, beta2: number, epsilon: number): Reference {
  let m: Vector | undefined;
  let v: Vector | undefined;
  return (p, g, lr, decay, step) => {
    const d = kind === 'adam' ? g.map((x, i) => x + decay * p[i]!) : g;
    m = (m ?? zeros(p.length)).map((x, i) => beta1 * x + (1 - beta1) * d[i]!);
    v = (v ?? zeros(p.length)).map((x, i) => beta2 * x + (1 - beta2) * d[i]! ** 2);
    const r = m.map((x, i) => x / (1 - beta1 ** step) / (Math.sqrt(v![i]! / (1 - beta2 ** step)) + epsilon));
    if (kind === 'adam') return p.map((x, i) => x - lr * r[i]!);
    if (kind === 'adamw') return p.map((x, i) => x - lr * decay * x - lr * r[i]!);
    const u = r.map((x, i) => x + decay * p[i]!);
    const trust = norm(p) > 0 && norm(u) > 0 ? norm(p) / norm(u) : 1;
    return p.map((x, i) => x - lr * trust * u[i]!);
  };
}

function lionReference(beta1: number, beta2: number): Reference {
  let m: Vector | undefined;
  return (p, g, lr, decay) => {
    const old = m ?? zeros(p.length);
    m = old.map((x, i) => beta2 * x + (1 - beta2) * g[i]!);
    return p.map((x, i) => x - lr * (Math.sign(beta1 * old[i]! + (1 - beta1) * g[i]!) + decay * x));
  };
}

const RULES: readonly [label: string, rule: UpdateRule, reference: () => Reference][] = [
  ['SGD', sgd({ weightDecay: 0.01 }), () => sgdReference(0, 0, false)],
  ['SGD with momentum', sgd({ momentum: 0.9, weightDecay: 0.01 }), () => sgdReference(0.9, 0, false)],
  ['SGD with dampening', sgd({ momentum: 0.8, dampening: 0.3 }), () => sgdReference(0.8, 0.3, false)],
  ['SGD with Nesterov momentum', sgd({ momentum: 0.9, nesterov: true, weightDecay: 1e-3 }), () => sgdReference(0.9, 0, true)],
  ['Adam', adam({ lr: 0.01, weightDecay: 0.02 }), () => adamReference('adam', 0.9, 0.999, 1e-8)],
  ['AdamW', adamw({ lr: 0.01, weightDecay: 0.1 }), () => adamReference('adamw', 0.9, 0.999, 1e-8)],
  ['Lion', lion({ lr: 0.003, weightDecay: 0.1 }), () => lionReference(0.9, 0.99)],
  ['LAMB', lamb({ lr: 0.02 }), () => adamReference('lamb', 0.9, 0.999, 1e-6)],
];

function start(rule: UpdateRule, options?: OptimizerOptions, seed = 1): Optimizer {
  const optimizer = new Optimizer(rule, SPECS, options);
  const rng = new Rng(seed);
  for (const p of optimizer.parameters.values())
    p.forEach((_, i) => {
      p[i] = rng.normal();
    });
  return optimizer;
}

function randomGradients(optimizer: Optimizer, rng: Rng): void {
  for (const g of optimizer.gradients.values())
    g.forEach((_, i) => {
      g[i] = rng.normal() * 0.3;
    });
}

function run(optimizer: Optimizer, steps: number, seed = 2): void {
  const rng = new Rng(seed);
  for (let i = 0; i < steps; i++) {
    randomGradients(optimizer, rng);
    optimizer.step();
  }
}

const bits = (optimizer: Optimizer) => [...optimizer.state().arrays].map(([name, a]) => [name, [...new Uint32Array(a.buffer)]]);

describe.each(RULES)('%s', (_label, rule, reference) => {
  test('follows the formula', () => {
    const optimizer = start(rule);
    const references = SPECS.map(reference);
    const expected = SPECS.map((s) => [...optimizer.parameters.get(s.name)!]);
    const rng = new Rng(3);
    for (let step = 1; step <= 20; step++) {
      randomGradients(optimizer, rng);
      SPECS.forEach((s, k) => {
        expected[k] = references[k]!(expected[k]!, [...optimizer.gradients.get(s.name)!], rule.lr, rule.weightDecay, step);
      });
      optimizer.step();
    }
    SPECS.forEach((s, k) => {
      optimizer.parameters.get(s.name)!.forEach((x, i) => {
        expect(Math.abs(x - expected[k]![i]!)).toBeLessThan(2e-5);
      });
    });
  });

  test('plain loops and SIMD give the same bits', () => {
    const options = { clipNorm: 1.5, emaDecay: 0.9 };
    const fast = start(rule, options);
    const plain = start(rule, { ...options, simd: false });
    expect([fast.usesSimd, plain.usesSimd]).toEqual([true, false]);
    run(fast, 30);
    run(plain, 30);
    expect(bits(fast)).toEqual(bits(plain));
  });

  test('continues bit for bit from a stored state', () => {
    const whole = start(rule, { emaDecay: 0.9 });
    const rng = new Rng(4);
    for (let i = 0; i < 5; i++) {
      randomGradients(whole, rng);
      whole.step();
    }
    const resumed = start(rule, { emaDecay: 0.9 }, 99);
    resumed.restore(whole.state());
    run(whole, 5, 6);
    run(resumed, 5, 6);
    expect(bits(resumed)).toEqual(bits(whole));
  });
});

test('two steps of SGD with momentum by hand', () => {
  const optimizer = new Optimizer(sgd({ momentum: 0.5 }), [{ name: 'x', dims: [1] }]);
  const x = optimizer.parameters.get('x')!;
  x[0] = 1;
  optimizer.gradients.get('x')![0] = 2;
  optimizer.step(0.25);
  expect(x[0]).toBe(0.5);
  optimizer.gradients.get('x')![0] = 1;
  optimizer.step(0.25);
  expect(x[0]).toBe(0);
});

test('the first step of Adam is the learning rate, whatever the gradient', () => {
  const optimizer = new Optimizer(adam(), [{ name: 'x', dims: [3] }]);
  optimizer.gradients.get('x')!.set([1e-3, -7, 40]);
  optimizer.step(0.5);
  expect([...optimizer.parameters.get('x')!].map((v) => Math.round(v * 1e4) / 1e4)).toEqual([-0.5, 0.5, -0.5]);
});

test('groups have their own learning rate and decay', () => {
  const frozen = { match: (p: ParameterSpec) => p.name === 'scale', lrScale: 0 };
  const optimizer = start(sgd({ weightDecay: 0.5 }), { groups: [frozen, withoutDecay()] });
  const before = new Map([...optimizer.parameters].map(([name, p]) => [name, p.slice()]));
  for (const g of optimizer.gradients.values()) g.fill(1);
  optimizer.step(0.5);
  const now = (name: string) => optimizer.parameters.get(name)!;
  expect(now('scale')).toEqual(before.get('scale'));
  expect(now('bias')).toEqual(before.get('bias')!.map((x) => x - 0.5));
  now('weight').forEach((x, i) => {
    expect(x).toBeCloseTo(before.get('weight')![i]! * 0.75 - 0.5, 6);
  });
});

test('names exclude from decay', () => {
  const group = withoutDecay(/embedding/);
  expect(group.match({ name: 'token.embedding', dims: [5, 4] })).toBe(true);
  expect(group.match({ name: 'linear.bias', dims: [4] })).toBe(true);
  expect(group.match({ name: 'linear.weight', dims: [4, 4] })).toBe(false);
});

test('gradients are clipped by the norm of all of them', () => {
  const optimizer = start(sgd({ lr: 1 }), { clipNorm: 1 });
  const before = [...optimizer.parameters.values()].flatMap((p) => [...p]);
  for (const g of optimizer.gradients.values()) g.fill(2);
  const result = optimizer.step();
  const count = before.length;
  expect(result.clipped).toBe(true);
  expect(result.gradientNorm).toBeCloseTo(2 * Math.sqrt(count), 6);
  const moved = [...optimizer.parameters.values()].flatMap((p) => [...p]).map((x, i) => before[i]! - x);
  expect(norm(moved)).toBeCloseTo(1, 5);
  for (const g of optimizer.gradients.values()) g.fill(1e-3);
  expect(optimizer.step().clipped).toBe(false);
  optimizer.gradients.get('bias')![3] = Number.NaN;
  expect(optimizer.step().gradientNorm).toBeNaN();
});

test('accumulated gradients count as their weighted mean', () => {
  const optimizer = start(sgd({ lr: 1 }), { accumulate: true });
  const before = optimizer.parameters.get('bias')!.slice();
  optimizer.gradients.get('bias')!.fill(1);
  optimizer.accumulate(3);
  optimizer.gradients.get('bias')!.fill(5);
  optimizer.accumulate(1);
  optimizer.step();
  optimizer.parameters.get('bias')!.forEach((x, i) => {
    expect(x).toBeCloseTo(before[i]! - 2, 6);
  });
  // The next sum starts afresh, and a checkpoint between two batches keeps the sum.
  optimizer.gradients.get('bias')!.fill(4);
  optimizer.accumulate();
  const resumed = start(sgd({ lr: 1 }), { accumulate: true }, 5);
  resumed.restore(optimizer.state());
  resumed.step();
  resumed.parameters.get('bias')!.forEach((x, i) => {
    expect(x).toBeCloseTo(before[i]! - 6, 6);
  });
});

test('the average follows the weights', () => {
  const optimizer = new Optimizer(sgd({ lr: 1 }), [{ name: 'x', dims: [1] }], { emaDecay: 0.75 });
  optimizer.parameters.get('x')![0] = 8;
  optimizer.gradients.get('x')![0] = 4;
  optimizer.step();
  expect(optimizer.averages.get('x')![0]).toBe(7);
  optimizer.step();
  expect(optimizer.averages.get('x')![0]).toBe(0.75 * 7);
});

test('moments of parameters that are never used again become zero, not subnormal', () => {
  const optimizer = new Optimizer(adam(), [{ name: 'x', dims: [1] }]);
  optimizer.gradients.get('x')![0] = 1e-3;
  optimizer.step();
  optimizer.gradients.get('x')![0] = 0;
  for (let i = 0; i < 1000; i++) optimizer.step();
  expect(optimizer.state().arrays.get('m/x')![0]).toBe(0);
});

test('states and options that do not fit are refused', () => {
  const state = start(adam()).state();
  expect(() => start(adamw()).restore(state)).toThrow(/optimizer state: expected one of \["adamw"/);
  expect(() => new Optimizer(adam(), [{ name: 'other', dims: [2] }]).restore(state)).toThrow(/"parameters\/other": expected 2 numbers/);
  expect(() => sgd({ nesterov: true })).toThrow(/nesterov: expected momentum/);
  expect(() => adam({ beta2: 1 })).toThrow(/beta2/);
  expect(() => start(adam(), { clipNorm: 0 })).toThrow(/clipNorm/);
});
