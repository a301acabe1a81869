// Law: for real models, the inferred type of every intermediate value is what ONNX Runtime produces, at two sizes of the dynamic axes.
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { inferShapes, type ShapeReport, specializeShapes } from '../../src/analysis/shapes.js';
import { dimSymbols, evaluateDim } from '../../src/ir/dim.js';
import { isFloat } from '../../src/ir/dtype.js';
import type { Value } from '../../src/ir/graph.js';
import type { Model } from '../../src/ir/model.js';
import { requiredInputs } from '../../src/ir/model.js';
import { elementCount, Tensor } from '../../src/ir/tensor.js';
import { formatType } from '../../src/ir/type.js';
import { cloneModel, walkNodes } from '../../src/ir/walk.js';
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

/** Shapes behind these operators may depend on data, or on sizes that are still symbols (an If on a dimension). */
const DATA_DEPENDENT = new Set(['NonZero', 'Unique', 'NonMaxSuppression', 'Loop', 'If', 'Compress']);

const models = sharedModels().filter((name) => !name.startsWith('supres/'));

function load(name: string): Model {
  return decodeModel(readFileSync(sharedData(name)!));
}

function inferred(model: Model): { model: Model; report: ShapeReport } {
  return { model, report: inferShapes(model) };
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
      const draw = isFloat(v.type.dtype) ? () => rng.uniform() : () => inputs[v.name] ?? 1 + rng.integer(3);
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

interface Truth {
  readonly env: Record<string, number>;
  readonly results: Record<string, Tensor>;
}

/** Types and contents of the main graph against what ONNX Runtime produced; answers the values that are not fully known. */
function check(model: Model, report: ShapeReport, { env, results }: Truth): Map<string, Value> {
  const open = new Map<string, Value>();
  for (const [name, actual] of Object.entries(results)) {
    const value = model.graph.value(name)!;
    const type = value.type;
    const where = `${name} of ${value.producer?.op}: ${formatType(type)} against ${actual.dtype}[${actual.dims}]`;
    if (type?.kind !== 'tensor') throw new Error(where);
    expect(type.dtype, where).toBe(actual.dtype);
    if (type.shape === null) open.set(where, value);
    else expect(type.shape.length, where).toBe(actual.rank);
    for (const [i, dim] of (type.shape ?? []).entries()) {
      const n = evaluateDim(dim, env);
      if (n === undefined) open.set(where, value);
      else expect(n, where).toBe(actual.dims[i]);
    }
    for (const [i, item] of (report.values.get(value)?.items ?? []).entries()) {
      const known = evaluateDim(item, env);
      const real = actual.numbers()[i]!;
      // "To the end" is written as an integer that JavaScript cannot hold; contents clamp it.
      if (known === undefined || (Number.isInteger(real) && !Number.isSafeInteger(real))) continue;
      expect(known, `content of ${where}, element ${i}`).toBeCloseTo(real, 4);
    }
  }
  return open;
}

/** Values that come, directly or not, from an operator whose shapes depend on data. */
function afterDataDependent(model: Model): Set<Value> {
  const found = new Set<Value>();
  for (const node of model.graph.nodes) {
    if (DATA_DEPENDENT.has(node.opType) || node.inputs.some((v) => v && found.has(v))) for (const v of node.outputs) if (v) found.add(v);
  }
  return found;
}

describe.each(models)('%s', (name) => {
  const special = SPECIAL[name];
  const symbols = symbolsOf(inferred(load(name)).model);
  const sizes = symbols.length === 0 ? [{}] : (special?.sizes ?? [2, 5].map((n) => Object.fromEntries(symbols.map((s, i) => [s, n + i]))));
  const truths: Truth[] = [];

  beforeAll(async () => {
    const { model } = inferred(load(name));
    const values = new Map([...model.graph.values()].map((v) => [v.name, v]));
    for (const env of sizes) {
      const exposed = load(name);
      const names = exposeAll(exposed, values);
      truths.push({ env, results: await runOrt(exposed, feedsOf(model, env, special?.inputs ?? {}), names) });
    }
  });

  test('symbolic', () => {
    const { model, report } = inferred(load(name));
    expect(report.unknown.map((u) => `${u.op}: ${u.reason}`)).toEqual([]);
    expect(report.conflicts.map((c) => `${c.value.name}: ${formatType(c.claimed)} against ${formatType(c.inferred)}`)).toEqual([]);
    const open = new Map(truths.flatMap((truth) => [...check(model, report, truth)]));
    const excused = afterDataDependent(model);
    expect(
      [...open].filter(([, value]) => !excused.has(value)).map(([where]) => where),
      'values that stay unknown',
    ).toEqual([]);
  });

  test('specialized', () => {
    for (const truth of truths) {
      const model = load(name);
      const report = specializeShapes(model, truth.env);
      expect(report.unknown.map((u) => `${u.op}: ${u.reason}`)).toEqual([]);
      const open = check(model, report, truth);
      expect([...open.keys()], 'values that stay unknown').toEqual([]);
    }
  });
});

test.runIf(models.length > 0)('a thousand nodes take less than 50 ms', () => {
  const times = models.map((name) => {
    const model = load(name);
    const nodes = [...walkNodes(model.graph)].length;
    const best = Math.min(
      ...[0, 1, 2].map(() => {
        const copy = cloneModel(model);
        const start = performance.now();
        inferShapes(copy);
        return performance.now() - start;
      }),
    );
    return { name, nodes, ms: best };
  });
  for (const { name, nodes, ms } of times) expect(ms, `${name}, ${nodes} nodes`).toBeLessThan(5 + nodes * 0.05);
});
