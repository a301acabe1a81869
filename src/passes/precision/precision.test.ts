import { describe, expect, it } from 'vitest';
import { cosine, feedsDataset, opCounts, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { Builder, buildModel } from '../../ir/builder.js';
import { DTYPES } from '../../ir/dtype.js';
import { Graph } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { verifyModel } from '../../ir/verify.js';
import { cloneModel } from '../../ir/walk.js';
import { toBf16 } from './bf16.js';
import { toFp16 } from './fp16.js';

const FEEDS = [1, 2, 3].map((seed) => ({ x: randomTensor([2, 16], seed) }));

function dense(scale = 1): Model {
  return buildModel('dense', (b) => {
    const x = b.input('x', 'float', [2, 16]);
    const h = b.op('Relu', [b.op('MatMul', [x, b.constant('w', randomTensor([16, 32], 5, scale))], {}, { name: 'first' })]);
    b.output(b.op('MatMul', [h, b.constant('v', randomTensor([32, 16], 6, 1 / scale))], {}, { name: 'second' }), 'y');
  });
}

async function converted(pass: ReturnType<typeof toFp16>, model: Model, feeds = FEEDS) {
  const result = cloneModel(model);
  const context = await passContext(feedsDataset(feeds));
  await pass.run(result, context);
  verifyModel(result);
  return { result, context };
}

const dtypes = (model: Model) => new Set(model.graph.initializers.filter((v) => v.initializer!.size > 1).map((v) => v.initializer!.dtype));

describe('toFp16', () => {
  it('halves weights and keeps the types and names of inputs and outputs', async () => {
    const model = dense();
    const { result } = await converted(toFp16(), model);
    expect(dtypes(result)).toEqual(new Set(['float16']));
    expect(opCounts(result)).toEqual({ Cast: 2, MatMul: 2, Relu: 1 });
    expect(result.graph.outputs[0]!.name).toBe('y');
    expect(result.graph.outputs[0]!.type).toMatchObject({ dtype: 'float' });
    expect(cosine(await runModel(model, FEEDS), await runModel(result, FEEDS))).toBeGreaterThan(0.99999);
    const { result: whole } = await converted(toFp16({ io: 'float16' }), model);
    expect(opCounts(whole).Cast).toBeUndefined();
    expect(whole.graph.inputs[0]!.type).toMatchObject({ dtype: 'float16' });
  });

  it('keeps nodes float whose values leave the range on the data', async () => {
    const model = dense(1e4);
    const { result, context } = await converted(toFp16(), model);
    expect(context.skipped.map((s) => s.node)).toEqual(expect.arrayContaining(['first', 'second']));
    expect(context.skipped[0]!.reason).toMatch(/reaches .* on the data/);
    const y = await runModel(result, FEEDS);
    expect(y.every((v) => v.every(Number.isFinite))).toBe(true);
  });

  it('keeps readers of constants that float16 cannot hold, and says so', async () => {
    const model = buildModel('masks', (b) => {
      const x = b.input('x', 'float', [2, 16]);
      const masked = b.op('Where', [b.op('Greater', [x, b.scalar('zero', 'float', 0)]), x, b.scalar('lowest', 'float', -3.4e38)]);
      const safe = b.op('Add', [b.op('Softmax', [masked]), b.scalar('epsilon', 'float', 1e-12)]);
      b.output(b.op('MatMul', [safe, b.constant('w', randomTensor([16, 4], 5))]), 'y');
    });
    const { result, context } = await converted(toFp16(), model);
    expect(context.warnings.map((w) => w.message).join()).toMatch(/lowest reaches -?3.40e\+38/);
    expect(context.warnings.map((w) => w.message).join()).toMatch(/epsilon holds 1.00e-12, which is 0/);
    expect(cosine(await runModel(model, FEEDS), await runModel(result, FEEDS))).toBeGreaterThan(0.9999);
  });

  it('enters subgraphs and leaves inputs float that the schema wants so', async () => {
    const model = buildModel('nested', (b) => {
      const x = b.input('x', 'float', [2, 16]);
      const w = b.constant('w', randomTensor([16, 16], 5));
      const branch = (name: string, fill: (inner: Builder) => void) => {
        const graph = new Graph(name, b.graph);
        fill(new Builder(graph));
        return { type: 'graph', value: graph } as const;
      };
      const h = b.op('MatMul', [x, w]);
      const y = b.op('If', [b.op('Greater', [b.op('ReduceMax', [x], { keepdims: 0 }), b.scalar('limit', 'float', 0)])], {
        then_branch: branch('then', (inner) => inner.output(inner.op('MatMul', [h, w]))),
        else_branch: branch('else', (inner) => inner.output(inner.op('Identity', [h]))),
      });
      const image = b.op('Reshape', [y, b.ints('shape', [1, 1, 2, 16])]);
      const large = b.op('Resize', [image, null, b.constant('scales', Tensor.from('float', [4], [1, 1, 2, 2]))], { mode: 'nearest' });
      b.output(b.op('Cast', [b.op('Cast', [large], { to: DTYPES.int32.code })], { to: DTYPES.float.code }), 'y');
    });
    const { result } = await converted(toFp16(), model);
    expect(result.graph.value('scales')!.initializer!.dtype).toBe('float');
    expect(result.graph.initializers.filter((v) => v.initializer!.size === 256).map((v) => v.initializer!.dtype)).toEqual(['float16']);
    expect(cosine(await runModel(model, FEEDS), await runModel(result, FEEDS))).toBeGreaterThan(0.98);
  });
});

describe('toBf16', () => {
  it('stores weights in bfloat16 and computes in float', async () => {
    const model = dense();
    const { result } = await converted(toBf16(), model);
    expect(dtypes(result)).toEqual(new Set(['bfloat16']));
    expect(opCounts(result)).toEqual({ Cast: 2, MatMul: 2, Relu: 1 });
    expect(cosine(await runModel(model, FEEDS), await runModel(result, FEEDS))).toBeGreaterThan(0.9999);
  });

  it('writes bfloat16 arithmetic that the CPU engine refuses', async () => {
    const { result } = await converted(toBf16({ compute: 'bf16' }), dense());
    expect(result.graph.nodes.find((n) => n.opType === 'MatMul')!.output().type).toMatchObject({ dtype: 'bfloat16' });
    expect(result.graph.outputs[0]!.type).toMatchObject({ dtype: 'float' });
    await expect(runModel(result, FEEDS)).rejects.toMatchObject({ code: 'E_RUNTIME' });
  });
});
