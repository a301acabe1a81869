import { describe, expect, it } from 'vitest';
import type { Node } from '../ir/graph.js';
import { parseModel } from '../ir/text.js';
import { anyOf, constant, matchAt, maybe, op, readOutside, scalar, value } from './pattern.js';

function last(body: string): Node {
  const model = parseModel(`<ir_version: 10, opset_import: ["" : 21]> g ${body}`);
  return model.graph.nodes.at(-1)!;
}

describe('patterns', () => {
  const silu = op('Mul', [value('x'), op('Sigmoid', [value('x')], { as: 'gate' })]);

  it('match both orders of a commutative operator and bind by name', () => {
    for (const order of ['x, s', 's, x']) {
      const match = matchAt(silu, last(`(float[4] x) => (float[4] y) { s = Sigmoid (x) y = Mul (${order}) }`))!;
      expect(match.values.x!.name).toBe('x');
      expect(match.nodes.gate!.opType).toBe('Sigmoid');
      expect(match.inside.map((n) => n.opType).sort()).toEqual(['Mul', 'Sigmoid']);
    }
  });

  it('ask for the same value under the same name', () => {
    expect(matchAt(silu, last('(float[4] x, float[4] z) => (float[4] y) { s = Sigmoid (z) y = Mul (x, s) }'))).toBeNull();
  });

  it('do not swap the inputs of other operators', () => {
    const minus = op('Sub', [value('x'), op('Relu', [value('z')])]);
    expect(matchAt(minus, last('(float[4] x) => (float[4] y) { r = Relu (x) y = Sub (r, x) }'))).toBeNull();
  });

  it('backtrack over alternatives and optional nodes', () => {
    const p = op('Add', [maybe('Cast', op('Relu', [value('x')]), { as: 'cast' }), anyOf(scalar(2), scalar(1, 'one'))]);
    const plain = matchAt(p, last('(float[4] x) => (float[4] y) <float one = {1.0}> { r = Relu (x) y = Add (one, r) }'))!;
    expect(plain.nodes.cast).toBeUndefined();
    expect(plain.values.one!.name).toBe('one');
    const behindCast = last('(float16[4] x) => (float[4] y) <float one = {1.0}> { r = Relu (x) c = Cast <to = 1> (r) y = Add (c, one) }');
    expect(matchAt(p, behindCast)!.nodes.cast!.opType).toBe('Cast');
  });

  it('test constants and attributes', () => {
    const p = op('Concat', [value('x'), constant('c', (t) => t.size === 2)], { attributes: { axis: 0 } });
    const graph = (axis: number, c: string) =>
      `(float[4] x) => (float[N] y) <float[2] ${c} = {1.0, 2.0}> { y = Concat <axis = ${axis}> (x, ${c}) }`;
    expect(matchAt(p, last(graph(0, 'c')))!.values.c!.name).toBe('c');
    expect(matchAt(p, last(graph(-1, 'c')))).toBeNull();
  });

  it('leave no bindings of failed alternatives behind', () => {
    const p = anyOf(op('Mul', [value('a'), op('Exp', [value('b')])]), op('Mul', [value('b'), op('Sigmoid', [value('a')])]));
    const match = matchAt(p, last('(float[4] x, float[4] z) => (float[4] y) { s = Sigmoid (x) y = Mul (z, s) }'))!;
    expect(match.values.a!.name).toBe('x');
    expect(match.values.b!.name).toBe('z');
  });

  it('tell which inner result is read outside', () => {
    const shared = last('(float[4] x) => (float[4] s, float[4] y) { s = Sigmoid (x) y = Mul (x, s) }');
    expect(readOutside(matchAt(silu, shared)!)?.opType).toBe('Sigmoid');
    const own = last('(float[4] x) => (float[4] y) { s = Sigmoid (x) y = Mul (x, s) }');
    expect(readOutside(matchAt(silu, own)!)).toBeUndefined();
  });
});
