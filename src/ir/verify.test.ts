import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { sharedData, sharedModels } from '../../tests/shared-data.js';
import { decodeModel } from '../onnx/decode.js';
import { parseModel } from './text.js';
import { verifyModel } from './verify.js';
import { cloneModel } from './walk.js';

const IF = `g (bool c, float[2] x) => (float[2] y) {
  h = Relu(x)
  y = If (c) <then_branch = t () => (a) { a = Neg(h) }, else_branch = e () => (b) { b = Abs(h) }>
}`;

describe('verifyModel', () => {
  it.each(sharedModels())('accepts %s and its clone', (name) => {
    const model = decodeModel(readFileSync(sharedData(name)!));
    verifyModel(model);
    verifyModel(cloneModel(model));
  });

  it('accepts subgraphs that capture', () => {
    const model = parseModel(IF);
    verifyModel(model);
    verifyModel(cloneModel(model));
  });

  it('finds a node that reads what is computed later', () => {
    const { graph, ...rest } = parseModel('g (x) => (z) { y = Relu(x) z = Neg(y) }');
    const [relu] = graph.nodes;
    graph.moveNode(relu!, null);
    expect(() => verifyModel({ graph, ...rest, functions: [], opsets: new Map([['', 21]]) } as never)).toThrow(
      'input 0 of node Neg(z): value "y" is computed later, by node Relu(y)',
    );
  });

  it('finds a subgraph that reads what is computed later', () => {
    const model = parseModel(IF);
    model.graph.moveNode(model.graph.nodes[0]!, null);
    expect(() => verifyModel(model)).toThrow('input 0 of node Neg(a): value "h" is computed later');
  });

  it('finds values that lost their producer', () => {
    const model = parseModel('g (x) => (z) { y = Relu(x) z = Neg(y) }');
    const y = model.graph.value('y')!;
    y.producer!._setOutput(0, null);
    expect(() => verifyModel(model)).toThrow('value "y" has no producer, is no input and has no data');
  });

  it('finds an output that nothing computes', () => {
    const model = parseModel('g (x) => (y) { y = Relu(x) }');
    model.graph.addOutput(model.graph.addValue('lost'));
    expect(() => verifyModel(model)).toThrow('output "lost" of graph "g" is not computed by any node');
  });

  it('finds uses that do not match', () => {
    const model = parseModel('g (x) => (y) { y = Relu(x) }');
    model.graph.value('x')!.uses.push({ node: model.graph.nodes[0]!, index: 0 });
    expect(() => verifyModel(model)).toThrow('value "x" records 2 uses: expected 1');
    model.graph.value('x')!.uses.length = 0;
    expect(() => verifyModel(model)).toThrow('value "x" records 0 uses: expected 1');
  });

  it('finds uses that point elsewhere', () => {
    const model = parseModel('g (x) => (y) { y = Relu(x) }');
    const { uses } = model.graph.value('x')!;
    uses[0] = { node: model.graph.nodes[0]!, index: 1 };
    expect(() => verifyModel(model)).toThrow('records a use as input 1 of node Relu(y), which does not read it there');
  });

  it('has nothing to complain about names that hid others in the file', () => {
    const model = parseModel(`g (bool c, float[2] x) => (y) {
      h = Relu(x)
      y = If (c) <then_branch = t () => (k) { x = Neg(h) k = Abs(x) }, else_branch = e () => (b) { b = Abs(h) }>
    }`);
    verifyModel(model);
    const inner = model.graph.nodes[1]!.subgraph('then_branch')!;
    expect(inner.nodes.map((n) => [n.opType, n.output().name])).toEqual([
      ['Neg', 'x_1'],
      ['Abs', 'k'],
    ]);
  });

  it('finds shadowing', () => {
    const model = parseModel(IF);
    const inner = model.graph.nodes[1]!.subgraph('then_branch')!;
    inner.addValue('x');
    expect(() => verifyModel(model)).toThrow('value "x" of graph "t" shadows a value of graph "g"');
  });

  it('finds values read from a sibling branch', () => {
    const model = parseModel(IF);
    const node = model.graph.nodes[1]!;
    const a = node.subgraph('then_branch')!.value('a')!;
    node.subgraph('else_branch')!.nodes[0]!.setInput(0, a);
    expect(() => verifyModel(model)).toThrow('value "a" lives in graph "t" and cannot be seen from here');
  });

  it('finds values of another model', () => {
    const model = parseModel(IF);
    model.graph.nodes[0]!.setInput(0, parseModel(IF).graph.value('x')!);
    expect(() => verifyModel(model)).toThrow('is not in the model any more');
  });

  it('finds constants that are computed', () => {
    const model = parseModel('g (float[1] x) => (y) <float[1] w = {1}> { y = Add(x, w) }');
    model.graph.value('y')!.initializer = model.graph.value('w')!.initializer;
    expect(() => verifyModel(model)).toThrow('value "y" has both constant data and a producer');
  });
});
