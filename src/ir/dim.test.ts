import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  addDims,
  canonicalDim,
  ceilDivDims,
  dimSymbols,
  equalDims,
  evaluateDim,
  floorDivDims,
  maxDims,
  minDims,
  modDims,
  mulDims,
  sizeOf,
  subDims,
  substituteDim,
} from './dim.js';
import type { Dim } from './type.js';

const SYMBOLS = ['batch', 'seq', 'past seq', 'h-w', '/x', 'a[0]'];

interface Sample {
  readonly dim: Dim;
  /** The same computed on numbers; undefined where it divides by zero or less. */
  at(env: Record<string, number>): number | undefined;
}

const leaf: fc.Arbitrary<Sample> = fc.oneof(
  fc.integer({ min: -6, max: 12 }).map((n) => ({ dim: n, at: () => n })),
  fc.constantFrom(...SYMBOLS).map((s) => ({ dim: s, at: (env: Record<string, number>) => env[s] })),
);

const OPERATIONS: readonly [(a: Dim, b: Dim) => Dim, (x: number, y: number) => number | undefined][] = [
  [addDims, (x, y) => x + y],
  [subDims, (x, y) => x - y],
  [mulDims, (x, y) => x * y],
  [floorDivDims, (x, y) => (y > 0 ? Math.floor(x / y) : undefined)],
  [ceilDivDims, (x, y) => (y > 0 ? Math.ceil(x / y) : undefined)],
  [modDims, (x, y) => (y > 0 ? x - y * Math.floor(x / y) : undefined)],
  [maxDims, Math.max],
  [minDims, Math.min],
];

const expression = fc.letrec<{ tree: Sample }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4, depthSize: 'medium' },
    leaf,
    fc.tuple(fc.constantFrom(...OPERATIONS), tie('tree'), tie('tree')).map(([[symbolic, numeric], a, b]) => ({
      dim: symbolic(a.dim, b.dim),
      at: (env: Record<string, number>) => {
        const x = a.at(env);
        const y = b.at(env);
        return x === undefined || y === undefined ? undefined : numeric(x, y);
      },
    })),
  ),
})).tree;

const environment = fc
  .tuple(...SYMBOLS.map(() => fc.integer({ min: 0, max: 9 })))
  .map((v) => Object.fromEntries(SYMBOLS.map((s, i) => [s, v[i]!])));

test('symbolic arithmetic evaluates to the numeric result or is unknown', () => {
  fc.assert(
    fc.property(expression, environment, ({ dim, at }, env) => {
      const wanted = at(env);
      const got = evaluateDim(dim, env);
      if (wanted !== undefined && got !== undefined) expect(got + 0).toBe(wanted + 0);
      if (wanted !== undefined && dim !== null) expect(got).toBeDefined();
    }),
    { numRuns: 2000, seed: 7 },
  );
});

test('text is canonical: it reads back as itself', () => {
  fc.assert(
    fc.property(expression, ({ dim }) => {
      expect(canonicalDim(dim)).toBe(dim);
    }),
    { numRuns: 2000, seed: 8 },
  );
});

test('equality is never claimed wrongly and substitution agrees with evaluation', () => {
  fc.assert(
    fc.property(expression, expression, environment, (a, b, env) => {
      const equal = equalDims(a.dim, b.dim);
      const x = evaluateDim(a.dim, env);
      const y = evaluateDim(b.dim, env);
      if (x !== undefined && y !== undefined && equal !== undefined) expect(x + 0 === y + 0).toBe(equal);
      const substituted = substituteDim(a.dim, env);
      if (x !== undefined && substituted !== null) expect(substituted).toBe(x);
    }),
    { numRuns: 2000, seed: 9 },
  );
});

test('examples', () => {
  expect(addDims(mulDims(2, mulDims('seq', 'batch')), 1)).toBe('2*batch*seq+1');
  expect(mulDims(addDims('past', 'seq'), 'b')).toBe('b*past+b*seq');
  expect(floorDivDims(mulDims(mulDims('b', addDims('p', 's')), 768), mulDims('b', 64))).toBe('12*p+12*s');
  expect(floorDivDims(mulDims('b', addDims('p', 's')), addDims('s', 'p'))).toBe('b');
  expect(floorDivDims('h', 2)).toBe('floor(h/2)');
  expect(floorDivDims(floorDivDims('h', 2), 2)).toBe('floor(h/4)');
  expect(floorDivDims(addDims(mulDims(4, 'h'), 5), 4)).toBe('h+1');
  expect(ceilDivDims('h', 2)).toBe('floor((h+1)/2)');
  expect(canonicalDim('past_sequence_length + 1')).toBe('past_sequence_length+1');
  expect(canonicalDim('s0//2')).toBe('floor(s0/2)');
  expect(canonicalDim('ceil(s0/2)')).toBe('floor((s0+1)/2)');
  expect(canonicalDim('batch-size')).toBe('batch-size');
  expect(dimSymbols('batch-size')).toEqual(['batch-size']);
  expect(subDims('batch', 'size')).toBe('batch-1*size');
  expect(dimSymbols(subDims('batch', 'size'))).toEqual(['batch', 'size']);
  expect(mulDims('sequence length', 2)).toBe('2*{sequence length}');
  expect(maxDims('a', maxDims('b', 'a'))).toBe('max(a,b)');
  expect(maxDims('a', addDims('a', 2))).toBe('a+2');
  expect(maxDims(minDims(128, 'a'), 'a'), 'absorbed').toBe('a');
  expect(minDims('a', maxDims('a', 'b')), 'absorbed').toBe('a');
  expect(minDims('a', Number.MAX_SAFE_INTEGER)).toBe('a');
  expect(equalDims('a', addDims('a', 1))).toBe(false);
  expect(equalDims('a', 'b')).toBeUndefined();
  expect(sizeOf(['n', 3, 2])).toBe('6*n');
  expect(mulDims(null, 0)).toBe(0);
  expect(addDims('a', null)).toBeNull();
  expect(mulDims(2 ** 40, 2 ** 40)).toBeNull();
});
