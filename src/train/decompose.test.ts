// What a fused operator is decomposed into computes what ONNX Runtime computes for it, on every sample of every operator that is decomposed.
import { describe, expect, it, test } from 'vitest';
import { runOrt } from '../../tests/oracle/ort.js';
import { allSamples, sampleName } from '../../tests/samples/all.js';
import { buildSample } from '../../tests/samples/build-sample.js';
import type { OpSample } from '../../tests/samples/op-sample.js';
import { GraphInference } from '../analysis/infer-graph.js';
import { inferShapes } from '../analysis/shapes.js';
import { isFloat, isInteger } from '../ir/dtype.js';
import { tensorTypeOf } from '../ir/model.js';
import { parseModel } from '../ir/text.js';
import { cloneModel } from '../ir/walk.js';
import { opRecord } from '../ops/registry.js';
import { decomposeNodes } from './decompose.js';
import { differentiate } from './gradient.js';

const samples = (await allSamples())
  .map(({ sample }) => sample)
  .filter((s) => typeof opRecord(s.domain ?? '', s.op)?.grad === 'object' && s.noKernel === undefined);

/** Samples in forms that stay fused. */
const STAY = new Set(['com.microsoft.GroupQueryAttention (past, rotary)', 'com.microsoft.GroupQueryAttention (total not known)']);

/** Fed integers are constants: lengths and axes. */
const fixed = (s: OpSample): OpSample => ({
  ...s,
  inputs: s.inputs.map((x) => (x && (isInteger(x.dtype) || x.dtype === 'bool') ? { ...x, constant: true } : x)),
});

describe('decomposition', () => {
  it('is there for attention, embeddings and fused products', () => expect(samples.length).toBeGreaterThan(35));

  test.each(samples.map((sample) => ({ name: sampleName(sample), sample })))('$name', async ({ name, sample }) => {
    const { model, feeds } = buildSample(fixed(sample));
    const plain = cloneModel(model);
    const inference = new GraphInference(plain, false);
    inference.run(plain.graph);
    const values = [...plain.graph.inputs, ...plain.graph.initializers].filter((v) => isFloat(tensorTypeOf(v)!.dtype));
    inferShapes(model);
    const undone = decomposeNodes(plain, inference, values, (node) => inference.inferNode(node));
    expect([...undone.values()].length > 0, [...undone.values()].join()).toBe(STAY.has(name));
    if (undone.size > 0) return;
    plain.opsets.set('com.microsoft', 1);
    expect(plain.graph.nodes.some((n) => n.op === `${sample.domain ? `${sample.domain}.` : ''}${sample.op}`)).toBe(false);
    const [expected, actual] = [await runOrt(model, feeds), await runOrt(plain, feeds)];
    for (const [output, tensor] of Object.entries(expected)) {
      expect(actual[output]!.dims, output).toEqual(tensor.dims);
      const [a, b] = [tensor.numbers(), actual[output]!.numbers()];
      for (let i = 0; i < a.length; i++)
        expect(Math.abs(a[i]! - b[i]!), `${output}[${i}]: ${a[i]} ${b[i]}`).toBeLessThan(2e-5 * (1 + Math.abs(a[i]!)));
    }
  });
});

describe('differentiate', () => {
  const text = (attributes: string) => `<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>
    g (float[1,3,4] x, int32[1] last) => (float loss) <float[4,8] w, int32 total = {3}> {
      q = MatMul(x, w)
      h, k, v = com.microsoft.GroupQueryAttention <num_heads = 2, kv_num_heads = 1, ${attributes}> (q, , , , , last, total)
      loss = ReduceSumSquare <keepdims = 0> (h)
    }`;

  it('says why a fused operator has no gradient', () => {
    const model = parseModel(text('smooth_softmax = 1').replace('float[4,8] w', `float[4,8] w = {${Array(32).fill(1)}}`));
    expect(() => differentiate(model, { loss: 'loss' })).toThrow(/GroupQueryAttention.* \(with smooth_softmax\)/);
  });

  it('leaves fused what no gradient passes', () => {
    const model = parseModel(
      `<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]> g (float[2,4] x) => (float loss)
        <float[4] a = {1,2,3,4}, float[4,4] w = {1,2,3,4,1,2,3,4,1,2,3,4,1,2,3,4}>
        { f = com.microsoft.FusedGemm <activation = "Relu"> (x, w) y = Mul(f, a) loss = ReduceSumSquare <keepdims = 0> (y) }`,
    );
    const ops = (parameters: string[]) => differentiate(model, { loss: 'loss', parameters }).model.graph.nodes.map((n) => n.op);
    expect(ops(['a'])).toContain('com.microsoft.FusedGemm');
    expect(ops(['w'])).not.toContain('com.microsoft.FusedGemm');
    expect(ops(['w'])).toContain('Relu');
  });
});
