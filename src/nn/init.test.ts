// Initial values have the deviation their names promise, and depend on seed and name alone.
import { describe, expect, it, test } from 'vitest';
import { encodeModel } from '../onnx/encode.js';
import { Rng } from '../util/rng.js';
import { type Initializer, kaiming, normal, orthogonal, truncatedNormal, uniform, xavier } from './init.js';
import { linear } from './linear.js';
import { buildNetwork, type Scope } from './scope.js';

const FANS = { fanIn: 200, fanOut: 50 };
const DIMS = [200, 100];

function statistics(init: Initializer) {
  const values = init(DIMS, FANS, new Rng(7));
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const std = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
  return { mean, std, largest: values.reduce((a, b) => Math.max(a, Math.abs(b)), 0) };
}

test.each([
  ['Kaiming normal, fan in', kaiming(), Math.sqrt(2 / 200)],
  ['Kaiming uniform, fan out', kaiming({ mode: 'out', distribution: 'uniform' }), Math.sqrt(2 / 50)],
  ['Kaiming, gain 1', kaiming({ gain: 1 }), Math.sqrt(1 / 200)],
  ['Xavier uniform', xavier(), Math.sqrt(2 / 250)],
  ['Xavier normal', xavier({ distribution: 'normal', gain: 3 }), 3 * Math.sqrt(2 / 250)],
  ['normal', normal(0.5), 0.5],
  ['uniform', uniform(0.3), 0.3 / Math.sqrt(3)],
  // Deviation of a standard normal cut at two deviations.
  ['truncated normal', truncatedNormal(0.02), 0.02 * 0.8796],
])('%s', (_, init, std) => {
  const found = statistics(init);
  expect(Math.abs(found.mean)).toBeLessThan(std * 0.03);
  expect(found.std / std).toBeCloseTo(1, 1.6);
});

test('bounds of the bounded ones', () => {
  expect(statistics(truncatedNormal(1)).largest).toBeLessThanOrEqual(2);
  expect(statistics(uniform(0.3)).largest).toBeLessThanOrEqual(0.3);
  expect(statistics(xavier()).largest).toBeLessThanOrEqual(Math.sqrt(6 / 250));
});

describe('orthogonal', () => {
  it.each([
    [20, 20],
    [8, 30],
    [30, 8],
  ])('%i x %i, two matrices', (rows, columns) => {
    const w = orthogonal(2)([2, rows, columns], FANS, new Rng(1));
    const at = (m: number, i: number, j: number) => w[(m * rows + i) * columns + j]!;
    const small = Math.min(rows, columns);
    for (const m of [0, 1]) {
      for (let a = 0; a < small; a++) {
        for (let b = 0; b < small; b++) {
          let dot = 0;
          for (let k = 0; k < Math.max(rows, columns); k++) dot += rows <= columns ? at(m, a, k) * at(m, b, k) : at(m, k, a) * at(m, k, b);
          expect(dot).toBeCloseTo(a === b ? 4 : 0, 4);
        }
      }
    }
    expect(w.subarray(0, rows * columns)).not.toEqual(w.subarray(rows * columns));
  });
});

describe('seeds', () => {
  const network = (names: readonly string[], seed?: number) =>
    buildNetwork(
      'n',
      (scope: Scope) => {
        let x = scope.input('x', 'float', ['batch', 8]);
        for (const name of names) x = linear(scope.at(name), x, { features: 8 });
        scope.output(x, 'y');
      },
      { seed },
    );
  const weight = (model: ReturnType<typeof network>, name: string) => model.graph.value(`${name}.weight`)!.initializer!.floats();

  it('the same seed gives the same bytes, another one others', () => {
    expect(encodeModel(network(['a', 'b'], 5)).bytes).toEqual(encodeModel(network(['a', 'b'], 5)).bytes);
    expect(weight(network(['a'], 5), 'a')).not.toEqual(weight(network(['a'], 6), 'a'));
    expect(weight(network(['a']), 'a')).toEqual(weight(network(['a'], 0), 'a'));
  });

  it('a layer more shifts no other', () => {
    const two = network(['a', 'b']);
    const three = network(['a', 'between', 'b']);
    for (const name of ['a', 'b']) expect(weight(three, name)).toEqual(weight(two, name));
    expect(weight(two, 'a')).not.toEqual(weight(two, 'b'));
  });
});
