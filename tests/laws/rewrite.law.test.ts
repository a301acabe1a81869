// The law of rewriting: every rule gives the expected operators, says why where it does not fire, and keeps the outputs on random input.
import { describe, expect, it } from 'vitest';
import { DTYPES } from '../../src/ir/dtype.js';
import type { Model } from '../../src/ir/model.js';
import { tensorTypeOf } from '../../src/ir/model.js';
import { Tensor } from '../../src/ir/tensor.js';
import { parseModel } from '../../src/ir/text.js';
import { walkNodes } from '../../src/ir/walk.js';
import { nodeEngine } from '../../src/node/engine.js';
import { runPasses } from '../../src/pass/manager.js';
import { simplify, simplifyRules } from '../../src/passes/simplify/index.js';
import { openSession } from '../../src/runtime/session.js';
import { Rng } from '../../src/util/rng.js';
import { REWRITE_SAMPLES, type RewriteSample } from '../samples/rewrite-samples.js';

const SIZES: Readonly<Record<string, number>> = { N: 2, S: 3 };

function build(sample: RewriteSample): Model {
  const model = parseModel(`<ir_version: 10, opset_import: ["" : ${sample.opset ?? 21}]> g ${sample.graph}`);
  const rng = new Rng(7);
  for (const input of [...model.graph.inputs]) {
    if (!input.name.startsWith('c_')) continue;
    const { dtype, shape } = tensorTypeOf(input)!;
    const dims = (shape ?? []) as readonly number[];
    const size = dims.reduce((n, d) => n * d, 1);
    const value = () => {
      if (input.name.startsWith('c_one_')) return 1;
      if (input.name.startsWith('c_zero_')) return 0;
      return input.name.startsWith('c_pos_') ? rng.uniform() + 0.5 : rng.uniform() * 2 - 1;
    };
    model.graph.setInitializer(input, Tensor.from(dtype, dims, Array.from({ length: size }, value)));
    model.graph.removeInput(input);
  }
  return model;
}

function feedsFor(model: Model): Record<string, Tensor> {
  const rng = new Rng(11);
  const feeds: Record<string, Tensor> = {};
  for (const input of model.graph.inputs) {
    const { dtype, shape } = tensorTypeOf(input)!;
    const dims = shape!.map((d) => (typeof d === 'number' ? d : SIZES[d as string]!));
    const size = dims.reduce((n, d) => n * d, 1);
    const floats = DTYPES[dtype].kind === 'float';
    const values = floats ? Array.from({ length: size }, () => rng.uniform() * 4 - 2) : [2, 3, 8].slice(0, size);
    feeds[input.name] = Tensor.from(dtype, dims, values);
  }
  return feeds;
}

function operators(model: Model): string {
  return [...walkNodes(model.graph)].map((n) => n.op).join(' ');
}

describe('rules of simplify', () => {
  it.each(REWRITE_SAMPLES.map((s) => [`${s.rule}${s.label ? ` (${s.label})` : ''}`, s] as const))('%s', async (_, sample) => {
    const engine = await nodeEngine();
    const model = build(sample);
    const { model: simple, records } = await runPasses(model, [simplify(sample.options)], { engine });
    expect(operators(simple)).toBe(sample.ops);
    const outcome = records[0]!.rules.find((r) => r.rule === sample.rule)!;
    if (sample.miss === undefined) expect(outcome.hits).toBeGreaterThan(0);
    else {
      expect(outcome.hits).toBe(0);
      expect(outcome.misses.map((m) => m.reason).join('; ')).toMatch(sample.miss);
    }
    const [a, b] = [await openSession(engine, model, { threads: 1 }), await openSession(engine, simple, { threads: 1 })];
    const feeds = feedsFor(model);
    const [x, y] = [await a.run(feeds), await b.run(feeds)];
    for (const [name, tensor] of Object.entries(x)) {
      expect(y[name]!.dims).toEqual(tensor.dims);
      const [p, q] = [tensor.floats(), y[name]!.floats()];
      for (let i = 0; i < p.length; i++) expect(Math.abs(p[i]! - q[i]!)).toBeLessThan(1e-4 * Math.max(1, Math.abs(p[i]!)));
    }
    await Promise.all([a.release(), b.release()]);
  });

  it('has a sample for every rule', () => {
    const rules = simplifyRules({ fuse: true, contrib: true, skip: [] }).map((r) => r.name);
    const sampled = new Set(REWRITE_SAMPLES.map((s) => s.rule));
    expect(rules.filter((name) => !sampled.has(name))).toEqual([]);
  });
});
