import { describe, expect, it } from 'vitest';
import { buildModel } from '../ir/builder.js';
import { Graph } from '../ir/graph.js';
import { Tensor } from '../ir/tensor.js';
import { nodeEngine } from '../node/engine.js';
import { evaluateConstants } from './evaluate.js';

describe('evaluateConstants', () => {
  it('computes constant values and says why others are none', async () => {
    const model = buildModel('m', (b) => {
      const x = b.input('x', 'float', ['n', 2]);
      const w = b.floats('w', [2, 2], [1, 2, 3, 4]);
      const t = b.op('Transpose', [w], {}, { outputs: ['t'] });
      const s = b.op('Add', [t, t], {}, { outputs: ['s'] });
      b.op('Shape', [x], {}, { outputs: ['shape'] });
      b.op('NoSuchOp', [w], {}, { outputs: ['strange'], domain: 'nowhere' });
      b.op('ConstantOfShape', [b.ints('big', [1000])], {}, { outputs: ['zeros'] });
      b.output(b.op('MatMul', [x, s]), 'y');
    });
    const of = (name: string) => model.graph.value(name)!;
    const names = ['w', 't', 's', 'shape', 'strange', 'zeros', 'y'];
    const { tensors, failures } = await evaluateConstants(await nodeEngine(), model, names.map(of), { maxBytes: 100 });
    expect([...tensors].map(([v, t]) => [v.name, t.dims, [...t.numbers()]])).toEqual([
      ['w', [2, 2], [1, 2, 3, 4]],
      ['t', [2, 2], [1, 3, 2, 4]],
      ['s', [2, 2], [2, 6, 4, 8]],
    ]);
    expect(failures.get(of('shape'))).toMatch(/"x", which is no constant/);
    expect(failures.get(of('y'))).toMatch(/"x"/);
    expect(failures.get(of('strange'))).toMatch(/NoSuchOp/);
    expect(failures.get(of('zeros'))).toMatch(/4000 bytes.*at most 100/);
  });

  it('runs nodes with subgraphs, and nodes inside them that read outer constants', async () => {
    let inner: ReturnType<Graph['addValue']> | undefined;
    const model = buildModel('m', (b) => {
      const w = b.floats('w', [2], [1, -2]);
      const branch = (name: string, op: string) => {
        const g = new Graph(name, b.graph);
        const out = g.addNode({ opType: op, inputs: [w], outputs: [`${name}_out`] }).output();
        g.addOutput(out);
        if (op === 'Neg') inner = out;
        return { type: 'graph', value: g } as const;
      };
      const condition = b.constant('c', Tensor.from('bool', [], [1]));
      const y = b.op('If', [condition], { then_branch: branch('yes', 'Neg'), else_branch: branch('no', 'Abs') });
      b.output(y, 'y');
    });
    const y = model.graph.outputs[0]!;
    const { tensors } = await evaluateConstants(await nodeEngine(), model, [y, inner!]);
    expect([...tensors.get(y)!.numbers()]).toEqual([-1, 2]);
    expect([...tensors.get(inner!)!.numbers()]).toEqual([-1, 2]);
  });

  it('keeps types that cannot cross where they are known', async () => {
    const model = buildModel('m', (b) => {
      const w = b.constant('w', Tensor.from('bfloat16', [2], [1.5, -3]));
      const r = b.op('Reshape', [w, b.ints('s', [2, 1])], {}, { outputs: ['r'] });
      r.type = { kind: 'tensor', dtype: 'bfloat16', shape: [2, 1] };
      b.output(r, 'y');
    });
    const r = model.graph.outputs[0]!;
    const { tensors } = await evaluateConstants(await nodeEngine(), model, [r]);
    expect(tensors.get(r)!.dtype).toBe('bfloat16');
    expect([...tensors.get(r)!.numbers()]).toEqual([1.5, -3]);
  });
});
