import { describe, expect, it } from 'vitest';
import { parseModel } from '../ir/text.js';
import { differentiate } from './gradient.js';
import { trainingMemory } from './memory-plan.js';

const NETWORK = `<ir_version: 10, opset_import: ["" : 21]> g (float[5,4] x) => (float loss)
  <float[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}, float[3,2] v = {1,2,3,4,5,6}, int64[1] shape = {10}>
  { a = MatMul(x, w) h = Relu(a) y = MatMul(h, v) flat = Reshape(y, shape) loss = ReduceSumSquare <keepdims = 0> (flat) }`;

describe('trainingMemory', () => {
  it('counts what the backward pass reads, views once', () => {
    const memory = trainingMemory(differentiate(parseModel(NETWORK), { loss: 'loss', parameters: ['w', 'v'] }), 2);
    // x and h for the weights, y for the squares; h serves the mask as well.
    expect(memory.kept.map((k) => [k.name, k.bytes])).toEqual([
      ['x', 80],
      ['h', 60],
      ['y', 40],
    ]);
    expect(memory.kept[1]!.producer).toContain('Relu');
    expect(memory).toMatchObject({ activations: 180, parameters: 72, gradients: 72, optimizer: 144, states: 0, total: 468 });
  });

  it('keeps less where fewer parameters are trained', () => {
    const memory = trainingMemory(differentiate(parseModel(NETWORK), { loss: 'loss', parameters: ['v'] }));
    expect(memory.kept.map((k) => k.name)).toEqual(['h', 'y']);
    expect(memory.gradients).toBe(24);
  });
});
