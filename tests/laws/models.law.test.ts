// Law: for real models, the inferred type of every intermediate value is what ONNX Runtime produces, at two sizes of the dynamic axes.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { inferShapes } from '../../src/analysis/shapes.js';
import { dimSymbols, evaluateDim } from '../../src/ir/dim.js';
import type { Value } from '../../src/ir/graph.js';
import type { Model } from '../../src/ir/model.js';
import { requiredInputs } from '../../src/ir/model.js';
import { elementCount, Tensor } from '../../src/ir/tensor.js';
import { formatType } from '../../src/ir/type.js';
import { walkGraphs } from '../../src/ir/walk.js';
import { decodeModel } from '../../src/onnx/decode.js';
import { Rng } from '../../src/util/rng.js';
import { isExchangeable, runOrt } from '../oracle/ort.js';
import { sharedData, sharedModels } from '../shared-data.js';

/** Sizes that a model accepts where it is choosy, and the content of inputs that are no free numbers. */
const SPECIAL: Record<string, { sizes?: Record<string, number>[]; inputs?: Record<string, number> }> = {
  'silero-vad/silero_vad_16k_op15.onnx': {
    sizes: [
      { batch: 1, sequence: 576 },
      { batch: 3, sequence: 576 },
    ],
    inputs: { sr: 16000 },
  },
  'silero-vad/silero_model_micro_8k_2021.onnx': {
    sizes: [
      { batch: 1, samples: 4000 },
      { batch: 2, samples: 6000 },
    ],
  },
};

/** Values of these operators depend on data; a dimension of theirs may stay symbolic. */
const DATA_DEPENDENT = new Set(['NonZero', 'Unique', 'NonMaxSuppression', 'Loop', 'If', 'Compress']);

const models = sharedModels().filter((name) => !name.startsWith('supres/') && !name.endsWith('example_float16.onnx'));

function load(name: string): Model {
  return decodeModel(readFileSync(sharedData(name)!));
}

function symbolsOf(model: Model): string[] {
  return [
    ...new Set(requiredInputs(model.graph).flatMap((v) => (v.type?.kind === 'tensor' ? (v.type.shape ?? []).flatMap(dimSymbols) : []))),
  ];
}

function feedsOf(model: Model, env: Record<string, number>, inputs: Record<string, number>): Record<string, Tensor> {
  const rng = new Rng(3);
  return Object.fromEntries(
    requiredInputs(model.graph).map((v) => {
      if (v.type?.kind !== 'tensor') throw new Error(`input ${v.name} is ${formatType(v.type)}`);
      const dims = (v.type.shape ?? []).map((d) => evaluateDim(d, env)!);
      const draw = v.type.dtype === 'float' ? () => rng.uniform() : () => inputs[v.name] ?? 1 + rng.integer(3);
      return [v.name, Tensor.from(v.type.dtype, dims, Array.from({ length: elementCount(dims) }, draw))];
    }),
  );
}

/** Makes every value that a node of the main graph computes an output, without the shapes the file claims. */
function exposeAll(model: Model, inferred: Map<string, Value>): string[] {
  const names: string[] = [];
  const outputs = new Set(model.graph.outputs);
  for (const value of model.graph.values()) {
    if (!value.producer) continue;
    const type = inferred.get(value.name)?.type;
    value.type = type?.kind === 'tensor' ? { ...type, shape: null } : undefined;
    if (type?.kind !== 'tensor' || !isExchangeable(type.dtype)) continue;
    if (!outputs.has(value)) model.graph.addOutput(value);
    names.push(value.name);
  }
  for (const output of [...model.graph.outputs]) if (!names.includes(output.name)) model.graph.removeOutput(output);
  return names;
}

describe.each(models)('%s', (name) => {
  test('every intermediate value', async () => {
    const model = load(name);
    const report = inferShapes(model);
    expect(report.unknown.map((u) => `${u.op}: ${u.reason}`)).toEqual([]);
    expect(report.conflicts.map((c) => `${c.value.name}: ${formatType(c.claimed)} against ${formatType(c.inferred)}`)).toEqual([]);
    const special = SPECIAL[name];
    const symbols = symbolsOf(model);
    const sizes = special?.sizes ?? [2, 5].map((n) => Object.fromEntries(symbols.map((s, i) => [s, n + i])));
    const values = new Map([...model.graph.values()].map((v) => [v.name, v]));
    const open = new Map<string, string>();
    for (const env of symbols.length > 0 ? sizes : [{}]) {
      const exposed = load(name);
      const names = exposeAll(exposed, values);
      const results = await runOrt(exposed, feedsOf(model, env, special?.inputs ?? {}), names);
      for (const [output, actual] of Object.entries(results)) {
        const value = values.get(output)!;
        const type = value.type;
        const where = `${output} of ${value.producer?.op}: ${formatType(type)} against ${actual.dtype}[${actual.dims}]`;
        if (type?.kind !== 'tensor') throw new Error(where);
        expect(type.dtype, where).toBe(actual.dtype);
        if (type.shape === null) {
          open.set(where, value.producer?.opType ?? '');
          continue;
        }
        expect(type.shape.length, where).toBe(actual.rank);
        for (const [i, dim] of type.shape.entries()) {
          const n = evaluateDim(dim, env);
          if (n === undefined) open.set(`${output} of ${value.producer?.op}: ${formatType(type)}`, value.producer?.opType ?? '');
          else expect(n, where).toBe(actual.dims[i]);
        }
        const content = report.values.get(value);
        for (const [i, item] of (content?.items ?? []).entries()) {
          const known = evaluateDim(item, env);
          if (known !== undefined && (!Number.isInteger(known) || Number.isSafeInteger(actual.numbers()[i])))
            expect(known, `content of ${where}, element ${i}`).toBeCloseTo(actual.numbers()[i]!, 4);
        }
      }
    }
    const inner = [...walkGraphs(model.graph)].flatMap((g) => [...g.values()]).filter((v) => v.type === undefined);
    for (const v of inner) open.set(`${v.name} of ${v.producer?.op}: ?`, v.producer?.opType ?? '');
    expect(
      [...open].filter(([, op]) => !DATA_DEPENDENT.has(op)).map(([where]) => where),
      'values that stay unknown',
    ).toEqual([]);
  });
});
