// Hostile bytes: mutations of real models, with a fixed seed. Decoding must end quickly, in a model or a PareError, and with no
// allocation that the input's size does not justify. What decodes must encode and decode again.
import { readFileSync, statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { PareError } from '../src/errors.js';
import { decodeModel } from '../src/onnx/decode.js';
import { encodeModel } from '../src/onnx/encode.js';
import { Rng } from '../src/util/rng.js';
import { describeModel } from './model-equality.js';
import { sharedData, sharedModels } from './shared-data.js';

const MUTATIONS_PER_MODEL = 400;
const small = sharedModels().filter((name) => statSync(sharedData(name)!).size < 600_000);

type Mutation = (bytes: Uint8Array, rng: Rng) => Uint8Array;

/** Structure sits where weights do not: mutations prefer the first and last parts of the file. */
const place = (bytes: Uint8Array, rng: Rng) => {
  const near = Math.min(4000, bytes.length);
  const r = rng.integer(3);
  return r === 0 ? rng.integer(bytes.length) : r === 1 ? rng.integer(near) : bytes.length - 1 - rng.integer(near);
};

const MUTATIONS: Record<string, Mutation> = {
  flip: (bytes, rng) => {
    const out = bytes.slice();
    for (let i = 0, n = 1 + rng.integer(8); i < n; i++) out[place(out, rng)]! ^= 1 << rng.integer(8);
    return out;
  },
  truncate: (bytes, rng) => bytes.slice(0, place(bytes, rng)),
  inflate: (bytes, rng) => {
    // A varint that becomes huge: lengths, dimensions, counts.
    const out = bytes.slice();
    const at = place(out, rng);
    for (let i = 0, n = 1 + rng.integer(9); i < n && at + i < out.length; i++) out[at + i] = 0xff;
    return out;
  },
  splice: (bytes, rng) => {
    const from = place(bytes, rng);
    const part = bytes.slice(from, from + rng.integer(200));
    const at = place(bytes, rng);
    return Uint8Array.from(Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at + rng.integer(50))]));
  },
  overwrite: (bytes, rng) => {
    const out = bytes.slice();
    out.copyWithin(place(out, rng), place(out, rng), place(out, rng));
    return out;
  },
  noise: (bytes, rng) => Uint8Array.from({ length: rng.integer(Math.min(bytes.length, 2000)) }, () => rng.integer(256)),
};

describe.skipIf(small.length === 0)('mutated models', () => {
  it.each(small)('%s', (name) => {
    const original = new Uint8Array(readFileSync(sharedData(name)!));
    const rng = new Rng(20).fork(name);
    const kinds = Object.keys(MUTATIONS);
    let survived = 0;
    let slowest = 0;
    for (let i = 0; i < MUTATIONS_PER_MODEL; i++) {
      const kind = kinds[i % kinds.length]!;
      const bytes = MUTATIONS[kind]!(original, rng);
      const start = performance.now();
      try {
        const model = decodeModel(bytes);
        survived++;
        if (survived % 10 === 0) expect(describeModel(decodeModel(encodeModel(model).bytes))).toEqual(describeModel(model));
      } catch (error) {
        if (!(error instanceof PareError) || error.code === 'E_BUG') {
          throw new Error(`mutation ${i} (${kind}) of ${name} ended in ${(error as Error).stack}`);
        }
      }
      slowest = Math.max(slowest, performance.now() - start);
    }
    expect(slowest).toBeLessThan(2000);
  });
});

describe('bombs', () => {
  const varint = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...varint(Math.floor(n / 128))]);
  const message = (field: number, body: readonly number[]) => [...varint(field * 8 + 2), ...varint(body.length), ...body];
  const model = (graph: readonly number[]) => Uint8Array.from(message(7, graph));
  const tensor = (...fields: number[]) => message(5, [...message(8, [119]), ...fields]);

  it.each([
    ['dimensions without data', model(tensor(8, ...varint(2 ** 40), 8, ...varint(2 ** 10), 16, 1)), /element|bytes/],
    [
      'dimensions beyond counting',
      model(tensor(...[1, 2, 3].flatMap(() => [8, ...varint(2 ** 50)]), 16, 1)),
      /more elements than can be counted/,
    ],
    ['negative dimensions', model(tensor(8, ...new Array(9).fill(0xff), 1, 16, 1)), /non-negative/],
    ['too many dimensions', model(tensor(...new Array(300).fill([8, 1]).flat(), 16, 1)), /300 dimensions/],
    ['an element type that does not exist', model(tensor(8, 1, 16, 99)), /unknown ONNX data type 99/],
    ['more strings than dimensions', model(tensor(8, 1, 16, 8, ...message(6, [65]), ...message(6, [65]))), /expected 1 strings, got 2/],
  ])('refuses %s', (_, bytes, text) => {
    expect(() => decodeModel(bytes)).toThrow(text);
    expect(() => decodeModel(bytes)).toThrow(PareError);
  });

  it('refuses types and subgraphs nested without end', () => {
    let type: number[] = [];
    for (let i = 0; i < 200; i++) type = message(4, message(1, type));
    expect(() => decodeModel(model(message(11, [...message(1, [120]), ...message(2, type)])))).toThrow(/nested deeper/);
    let graph: number[] = [];
    for (let i = 0; i < 60; i++) graph = message(1, message(5, [...message(1, [98]), ...message(6, graph), 160, 1, 5]));
    expect(() => decodeModel(model(graph))).toThrow(/nested deeper/);
  });

  it('stays quick and small on a million empty fields', () => {
    const body = new Uint8Array(1_000_000);
    for (let i = 0; i < body.length; i += 2) body[i] = 0x1a;
    const bytes = Buffer.concat([Uint8Array.from([...varint(7 * 8 + 2), ...varint(body.length)]), body]);
    const start = performance.now();
    // Unknown fields (number 3 is reserved): kept as one range.
    expect(decodeModel(bytes).graph.unknown!.length).toBe(body.length);
    expect(performance.now() - start).toBeLessThan(1000);
  });

  it('refuses what is no model', () => {
    expect(() => decodeModel(new Uint8Array(0))).toThrow('this is no ONNX model');
    expect(() => decodeModel(new TextEncoder().encode('<!doctype html>'))).toThrow(PareError);
  });
});
