import { describe, expect, it } from 'vitest';
import { runOrt } from '../../tests/oracle/ort.js';
import { parseModel } from '../ir/text.js';
import { differentiate } from './gradient.js';
import { weightedSum } from './objective.js';
import { contrastiveObjective, penaltyObjective } from './penalties.js';

const batch = { inputs: {}, size: 2 };

const NETWORK = `<ir_version: 10, opset_import: ["" : 21]> g (float[2,2] x) => (float[2,2] left, float[2,2] right)
  <float[2,3] w = {3,0,1,-4,0,2}, float[2,3] v = {3,4,0,0,0,2}, float[2] bias = {5, 6}>
  { h = MatMul(x, w) left = Gemm <transB = 1> (h, v, bias) right = Identity(x) }`;

async function lossOf(objective: ReturnType<typeof penaltyObjective>) {
  const { Tensor } = await import('../ir/tensor.js');
  const model = parseModel(NETWORK);
  const result = differentiate(model, { loss: (b, outputs) => objective.build(b, outputs, batch), parameters: ['w', 'v', 'bias'] });
  const feeds = Object.fromEntries(
    result.model.graph.inputs.map((v) => [
      v.name,
      result.parameters.find((p) => p.name === v.name)?.data ?? Tensor.from('float', [2, 2], [1, 2, 3, 4]),
    ]),
  );
  const outputs = await runOrt(result.model, feeds);
  return { loss: outputs[result.loss]!.floats()[0]!, outputs, parameters: result.parameters };
}

describe('penalties', () => {
  it('l1 and l2 sum over matrices, not biases', async () => {
    expect((await lossOf(penaltyObjective('l1'))).loss).toBeCloseTo(10 + 9, 4);
    const { loss, outputs, parameters } = await lossOf(penaltyObjective('l2'));
    expect(loss).toBeCloseTo((30 + 29) / 2, 4);
    expect([...outputs.w_grad!.floats()]).toEqual([3, 0, 1, -4, 0, 2]);
    expect(parameters.find((p) => p.name === 'bias')!.gradient).toBeNull();
  });

  it('group lasso takes output channels: columns of MatMul, rows of a transposed Gemm', async () => {
    // Columns of w: 5, 0, sqrt 5; rows of v: 5, 2. The root ends at 1e-6, not 0.
    expect((await lossOf(penaltyObjective('group-lasso'))).loss).toBeCloseTo(Math.SQRT2 * (5 + Math.sqrt(5)) + Math.sqrt(3) * 7, 3);
  });

  it('adds to other objectives', async () => {
    const both = weightedSum([
      { objective: contrastiveObjective({ temperature: 1 }), weight: 1 },
      { objective: penaltyObjective('l1', { parameters: (name) => name === 'v' }), weight: 0.5 },
    ]);
    expect(both.name).toBe('contrastive + 0.5 l1');
    const { loss } = await lossOf(both);
    const { loss: alone } = await lossOf(contrastiveObjective({ temperature: 1 }));
    expect(loss - alone).toBeCloseTo(4.5, 4);
    expect(alone).toBeGreaterThan(0);
  });

  it('says what does not fit', async () => {
    await expect(lossOf(penaltyObjective('l1', { parameters: () => false }))).rejects.toThrow(
      'expected at least one parameter, got none that fits',
    );
    await expect(lossOf(contrastiveObjective({ outputs: ['left', 'middle'] }))).rejects.toThrow('the model has left, right');
  });
});
