import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildModel } from '../ir/builder.js';
import { DTYPES } from '../ir/dtype.js';
import { Tensor } from '../ir/tensor.js';
import { nodeEngine } from '../node/engine.js';
import type { Engine } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { Rng } from '../util/rng.js';
import { affineParameters, dequantize, packCodes, quantizationError, quantize, rangesOf } from './affine.js';
import { layoutOf } from './layout.js';
import { codesOf, type Granularity, QUANT_TYPES, type QuantType, type Scheme, type Symmetry } from './scheme.js';
import { quantizeTensor } from './tensor.js';

let engine: Engine;
beforeAll(async () => {
  engine = await nodeEngine();
});

interface Case {
  dims: number[];
  granularity: Granularity;
  dtype: QuantType;
  symmetry: Symmetry;
  seed: number;
  scale: number;
}

const granularities: fc.Arbitrary<{ dims: number[]; granularity: Granularity }> = fc
  .array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 })
  .chain((dims) =>
    fc
      .record({
        kind: fc.constantFrom('tensor' as const, 'channel' as const, 'block' as const),
        axis: fc.integer({ min: 0, max: dims.length - 1 }),
        size: fc.integer({ min: 1, max: 5 }),
      })
      .map(({ kind, axis, size }) => ({
        dims,
        granularity: kind === 'tensor' ? { kind } : kind === 'channel' ? { kind, axis } : { kind, axis, size },
      })),
  );

// The engine's quantizer runs on 8-bit, 16-bit and 4-bit types; blocks are not offered for 2-bit ones.
const cases: fc.Arbitrary<Case> = fc
  .record({
    shape: granularities,
    dtype: fc.constantFrom<QuantType>('int8', 'uint8', 'int16', 'uint16', 'int4', 'uint4'),
    symmetry: fc.constantFrom<Symmetry>('asymmetric', 'symmetric'),
    seed: fc.integer({ min: 0, max: 1 << 30 }),
    scale: fc.constantFrom(1e-4, 0.3, 1, 77, 1e5),
  })
  .map(({ shape, ...rest }) => ({ ...shape, ...rest }));

function randomData(c: Case): Float32Array {
  const rng = new Rng(c.seed);
  const n = c.dims.reduce((a, b) => a * b, 1);
  // Some exact halves of a step, where rounding rules differ.
  return Float32Array.from({ length: n }, () => (rng.uniform() < 0.2 ? Math.round(rng.normal() * 8) / 2 : rng.normal() * c.scale));
}

/** What the engine's QuantizeLinear and DequantizeLinear answer. */
async function oracle(c: Case, data: Float32Array, scheme: Scheme): Promise<{ codes: ArrayLike<number>; restored: Float32Array }> {
  const q = quantizeTensor(Tensor.of('float', c.dims, data), scheme);
  const attributes =
    // The engine takes a single scale for the whole tensor, whatever else is said.
    c.granularity.kind === 'tensor' || (q.scale.rank === 1 && q.scale.size === 1)
      ? {}
      : { axis: c.granularity.axis, ...(c.granularity.kind === 'block' ? { block_size: c.granularity.size } : {}) };
  const model = buildModel('oracle', (b) => {
    const x = b.input('x', 'float', c.dims);
    const scale = b.constant('scale', q.scale);
    const zero = b.constant('zero', Tensor.from(c.dtype, q.scale.dims, q.parameters.zeroPoint));
    const codes = b.op('QuantizeLinear', [x, scale, zero], attributes);
    b.output(b.op('Cast', [codes], { to: DTYPES.int32.code }), 'codes');
    b.output(b.op('DequantizeLinear', [codes, scale, zero], attributes), 'restored');
  });
  const session = await openSession(engine, model, { optimization: 'disabled' });
  const result = await session.run({ x: Tensor.of('float', c.dims, data) });
  await session.release();
  return { codes: result.codes!.numbers(), restored: result.restored!.floats() };
}

describe('affine', () => {
  it('quantizes and dequantizes bit for bit as the engine does, at every granularity and type', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (c) => {
        const scheme: Scheme = { dtype: c.dtype, granularity: c.granularity, symmetry: c.symmetry };
        const data = randomData(c);
        const expected = await oracle(c, data, scheme);
        const layout = layoutOf(c.dims, c.granularity);
        const parameters = affineParameters(rangesOf(data, layout), scheme);
        const codes = quantize(data, layout, parameters);
        const tensor = new Tensor(c.dtype, c.dims, packCodes(codes, c.dtype));
        // Whole ranges clip by half a step at most, so the narrow range of symmetric types cannot differ from the engine's full one.
        expect(Array.from(tensor.numbers())).toEqual(Array.from(expected.codes));
        expect(dequantize(codes, layout, parameters)).toEqual(expected.restored);
      }),
      { numRuns: 60 },
    );
  });

  it('keeps zero exact and every element within half a step', () => {
    fc.assert(
      fc.property(cases, fc.constantFrom(...QUANT_TYPES), (c, dtype) => {
        const data = randomData(c);
        data[0] = 0;
        const layout = layoutOf(c.dims, c.granularity);
        const parameters = affineParameters(rangesOf(data, layout), { dtype, symmetry: c.symmetry });
        const restored = dequantize(quantize(data, layout, parameters), layout, parameters);
        expect(Math.abs(restored[0]!)).toBe(0);
        const largest = Math.max(...parameters.scale.map(Math.abs));
        // An asymmetric range is shifted by rounding its zero point, which costs another half step at the ends.
        expect(quantizationError(data, restored).maxAbs).toBeLessThanOrEqual(largest * (c.symmetry === 'asymmetric' ? 1.001 : 0.501));
      }),
      { numRuns: 200 },
    );
  });

  it('lets the largest magnitude land on the lowest code with absmax', () => {
    const data = Float32Array.of(0.5, -0.25, 3.2, -1);
    const scheme: Scheme = { dtype: 'int4', granularity: { kind: 'tensor' }, symmetry: 'absmax' };
    const q = quantizeTensor(Tensor.of('float', [4], data), scheme);
    expect(q.parameters.scale[0]).toBeCloseTo(-0.4, 6);
    expect(Array.from(q.data.numbers())[2]).toBe(-8);
  });

  it('uses one bit less with a reduced range', () => {
    expect(codesOf({ dtype: 'int8', symmetry: 'symmetric', reduced: true })).toMatchObject({ min: -63, max: 63 });
    expect(codesOf({ dtype: 'uint8', symmetry: 'asymmetric', reduced: true })).toMatchObject({ min: 0, max: 127 });
  });

  it('answers scale 1 for groups of zeros and packs sub-byte codes low bits first', () => {
    const q = quantizeTensor(Tensor.from('float', [2, 3], [0, 0, 0, 1, -1, 0.6]), {
      dtype: 'int4',
      granularity: { kind: 'channel', axis: 0 },
      symmetry: 'symmetric',
    });
    expect(q.parameters.scale[0]).toBe(1);
    expect(Array.from(q.data.numbers())).toEqual([0, 0, 0, 7, -7, 4]);
    expect(Array.from(q.data.bytes())).toEqual([0x00, 0x70, 0x49]);
  });
});
