import { describe, expect, it } from 'vitest';
import { parseModel } from './text.js';
import { verifyModel } from './verify.js';

const order = (text: string) => parseModel(text).graph.nodes.map((n) => n.label);

describe('linking a graph from names', () => {
  it('keeps an order that can run, and sorts one that cannot', () => {
    expect(order('g (x) => (y) { b = Neg(x) a = Abs(x) y = Add(a, b) }')).toEqual(['Neg(b)', 'Abs(a)', 'Add(y)']);
    expect(order('g (x) => (y) { y = Add(a, b) b = Neg(a) a = Abs(x) }')).toEqual(['Abs(a)', 'Neg(b)', 'Add(y)']);
  });

  it('counts what subgraphs capture when it sorts', () => {
    const model = parseModel(`g (c, x) => (y) {
      y = If (c) <then_branch = t () => (a) { i = Op <body = u () => (v) { v = Neg(late) }> () a = Abs(i) }, else_branch = e () => (late) { }>
      late = Relu(x)
    }`);
    verifyModel(model);
    expect(model.graph.nodes.map((n) => n.opType)).toEqual(['Relu', 'If']);
  });

  it('takes an inner name for what is inside', () => {
    // The branch computes a "z" of its own: the outer "z", which needs the branch, is no cycle.
    const model = parseModel('g (c, x) => (z) { y = If (c) <then_branch = t () => (a) { z = Neg(x) a = Abs(z) }> z = Relu(y) }');
    verifyModel(model);
    expect(model.graph.nodes.map((n) => n.opType)).toEqual(['If', 'Relu']);
  });

  it('refuses cycles and names defined twice', () => {
    expect(() => parseModel('g (x) => (a) { a = Neg(b) b = Abs(a) }')).toThrow(
      'graph "g" has a cycle: node "Neg" waits for its own result',
    );
    expect(() => parseModel('g (x) => (y) { y = Neg(x) y = Abs(x) }')).toThrow('value "y" is defined twice in graph "g"');
    expect(() => parseModel('g (x) => (x) { x = Neg(x) }')).toThrow('value "x" is defined twice in graph "g"');
  });
});
