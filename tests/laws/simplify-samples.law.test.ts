// The law of rewriting over every operator sample: simplified, each gives what it gave, with fixed dimensions, with symbolic ones and with
// all inputs constant. A scale behind each float output gives rules something to fold into the operator.
import { describe, expect, test } from 'vitest';
import { inferShapes } from '../../src/analysis/shapes.js';
import { Builder } from '../../src/ir/builder.js';
import type { Model } from '../../src/ir/model.js';
import { tensorTypeOf } from '../../src/ir/model.js';
import { cloneModel } from '../../src/ir/walk.js';
import { nodeEngine } from '../../src/node/engine.js';
import { opRecord } from '../../src/ops/registry.js';
import { runPasses } from '../../src/pass/manager.js';
import { simplify } from '../../src/passes/simplify/index.js';
import { isExchangeable, runOrt } from '../oracle/ort.js';
import { allSamples, sampleName } from '../samples/all.js';
import { type BuildOptions, buildSample } from '../samples/build-sample.js';

const samples = await allSamples();

const VARIANTS: Readonly<Record<string, BuildOptions>> = {
  fixed: {},
  symbolic: { shapeOf: (_, dims) => dims.map((d) => (d > 1 ? `d${d}` : d)) },
  constant: { allConstant: true },
};

/** Scales float outputs by two, under new names. */
function scaleOutputs(model: Model): void {
  const { graph } = model;
  const b = new Builder(graph);
  for (const output of [...graph.outputs]) {
    if (tensorTypeOf(output)?.dtype !== 'float' || !output.producer) continue;
    graph.removeOutput(output);
    const scaled = b.op('Mul', [output, b.scalar(`${output.name}_two`, 'float', 2)]);
    scaled.type = output.type;
    b.output(scaled, `${output.name}_scaled`);
  }
}

function exchangeable(model: Model): boolean {
  const values = [...model.graph.inputs, ...model.graph.outputs];
  return values.every((v) => v.type?.kind === 'tensor' && isExchangeable(v.type.dtype));
}

let compared = 0;

for (const [variant, options] of Object.entries(VARIANTS)) {
  describe(`simplified samples, ${variant}`, () => {
    test.each(samples.map(({ sample }) => [sampleName(sample), sample] as const))('%s', async (_, sample) => {
      if (opRecord(sample.domain ?? '', sample.op)?.nondeterministic) return;
      const { model, feeds } = buildSample(sample, options);
      inferShapes(model);
      if (!exchangeable(model)) return;
      scaleOutputs(model);
      const original = cloneModel(model);
      const before = await runOrt(original, feeds).catch(() => undefined);
      if (before === undefined) return;
      compared++;
      const { model: simple } = await runPasses(model, [simplify()], { engine: await nodeEngine() });
      // Fresh feeds: training kernels write new statistics into the memory of the old ones.
      const after = await runOrt(simple, buildSample(sample, options).feeds);
      for (const [name, tensor] of Object.entries(before)) {
        const other = after[name]!;
        expect(other.dtype, name).toBe(tensor.dtype);
        expect(other.dims, name).toEqual(tensor.dims);
        if (tensor.dtype === 'string') expect(other.stringValues()).toEqual(tensor.stringValues());
        else {
          const [p, q] = [Array.from(tensor.numbers()), Array.from(other.numbers())];
          const scale = p.reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 1);
          p.forEach((x, i) => {
            if (Number.isFinite(x)) expect(Math.abs(x - q[i]!), `${name}[${i}]`).toBeLessThan(2e-3 * scale);
            else expect(q[i], `${name}[${i}]`).toBe(x);
          });
        }
      }
    });
  });
}

test('most samples were compared', () => {
  expect(compared).toBeGreaterThan(samples.length * 3 * 0.7);
});
