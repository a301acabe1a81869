import { describe, expect, it } from 'vitest';
import { buildModel } from '../ir/builder.js';
import { parseModel } from '../ir/text.js';
import { walkNodes } from '../ir/walk.js';
import { applyRules, mergeOutcomes } from './driver.js';
import { nodeRule } from './node-rule.js';
import { matchAt, op, value } from './pattern.js';
import { miss, rule } from './rule.js';

const parse = (body: string) => parseModel(`<ir_version: 10, opset_import: ["" : 21]> g ${body}`);

const removeIdentity = nodeRule({
  name: 'identity',
  roots: ['Identity'],
  plan: (node) => (node.output().isGraphOutput ? miss('it is an output') : () => [node.input(0)]),
});

const fuseSilu = rule({
  name: 'silu',
  roots: ['Mul'],
  match: (root) => matchAt(op('Mul', [value('x'), op('Sigmoid', [value('x')])]), root),
  when: () => true,
  replace: (match, ctx) => [ctx.b.op('Swish', [match.values.x!])],
});

describe('applyRules', () => {
  it('goes on until nothing fires, and removes what died', () => {
    const model = parse('(float[4] x) => (float[4] y) { a = Identity (x) s = Sigmoid (a) b = Identity (s) c = Mul (a, b) y = Relu (c) }');
    const outcomes = applyRules(model, [fuseSilu, removeIdentity]);
    expect(model.graph.nodes.map((n) => n.opType)).toEqual(['Swish', 'Relu']);
    expect(outcomes).toEqual([
      { rule: 'silu', hits: 1, misses: [] },
      { rule: 'identity', hits: 2, misses: [] },
    ]);
  });

  it('keeps the names of values that are replaced and of graph outputs', () => {
    const model = parse('(float[4] x) => (float[4] y) { s = Sigmoid (x) m = Mul (x, s) y = Relu (m) }');
    applyRules(model, [fuseSilu]);
    expect(model.graph.nodes[0]!.output().name).toBe('m');
    const direct = parse('(float[4] x) => (float[4] y) { s = Sigmoid (x) y = Mul (x, s) }');
    applyRules(direct, [fuseSilu]);
    expect(direct.graph.outputs[0]!.name).toBe('y');
    expect(direct.graph.outputs[0]!.producer!.opType).toBe('Swish');
  });

  it('reports nearest misses with their reasons, once a node', () => {
    const model = parse('(float[4] x) => (float[4] y) { y = Identity (x) }');
    const [outcome] = applyRules(model, [removeIdentity]);
    expect(outcome).toMatchObject({ hits: 0, misses: [{ reason: 'it is an output' }] });
    expect(mergeOutcomes([{ rule: 'identity', hits: 3, misses: [] }], [outcome!])[0]).toMatchObject({ hits: 3, misses: [{}] });
  });

  it('enters subgraphs', () => {
    const model = parse(`(bool c, float[4] x) => (float[4] y) { y = If (c) <
      then_branch = t () => (float[4] u) { a = Identity (x) u = Relu (a) },
      else_branch = e () => (float[4] v) { v = Exp (x) }> }`);
    expect(applyRules(model, [removeIdentity])[0]!.hits).toBe(1);
    expect([...walkNodes(model.graph)].map((n) => n.opType)).toEqual(['If', 'Relu', 'Exp']);
  });

  it('infers types of new nodes through the hook', () => {
    const model = parse('(float[4] x) => (float[4] y) { s = Sigmoid (x) m = Mul (x, s) y = Relu (m) }');
    const asked: string[] = [];
    applyRules(model, [fuseSilu], { infer: (node) => asked.push(node.opType) });
    expect(asked).toEqual(['Swish']);
  });

  it('stops rules that undo one another', () => {
    const swap = (from: string, to: string) =>
      nodeRule({ name: `${from}-${to}`, roots: [from], plan: (node, ctx) => () => [ctx.b.op(to, [node.input(0)])] });
    const model = parse('(float[4] x) => (float[4] y) { y = Relu (x) }');
    expect(() => applyRules(model, [swap('Relu', 'Exp'), swap('Exp', 'Relu')])).toThrow(/does not end/);
  });

  it('takes less than a second for 5,000 nodes', () => {
    const model = buildModel('long', (b) => {
      let x = b.input('x', 'float', [4]);
      for (let i = 0; i < 1250; i++) {
        const a = b.op('Identity', [x], {}, { name: `a${i}` });
        const s = b.op('Sigmoid', [a], {}, { name: `s${i}` });
        x = b.op('Relu', [b.op('Mul', [a, s], {}, { name: `m${i}` })], {}, { name: `r${i}` });
      }
      b.output(x, 'y');
    });
    const start = performance.now();
    const outcomes = applyRules(model, [removeIdentity, fuseSilu]);
    expect(performance.now() - start).toBeLessThan(1000);
    expect(outcomes.map((o) => o.hits)).toEqual([1250, 1250]);
    expect(model.graph.nodes.length).toBe(2500);
  });
});
