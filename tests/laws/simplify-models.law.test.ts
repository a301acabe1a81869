// Simplification of every shared model: the same outputs, no more nodes, a newer opset. Prints the table of node counts.
import { afterAll, describe, expect, it } from 'vitest';
import type { Node } from '../../src/ir/graph.js';
import type { Model } from '../../src/ir/model.js';
import { walkNodes } from '../../src/ir/walk.js';
import { nodeEngine } from '../../src/node/engine.js';
import { readModel } from '../../src/node/files.js';
import { runPasses } from '../../src/pass/manager.js';
import { simplify } from '../../src/passes/simplify/index.js';
import { findFeeds, randomFeeds } from '../../src/runtime/inputs.js';
import { openSession } from '../../src/runtime/session.js';
import { sharedData, sharedModels } from '../shared-data.js';

/** Custom domain that no runtime here has, and outputs that are no tensors. */
const EXCLUDED = new Set(['supres/supres_extensions_op18.onnx', 'onnxruntime-go/sklearn_randomforest.onnx']);

const rows: string[] = [];

function count(model: Model, which: (node: Node) => boolean = () => true): number {
  return [...walkNodes(model.graph)].filter(which).length;
}

const isQuantizer = (node: Node) => /^(De)?[Qq]uantizeLinear$/.test(node.opType);

const models = sharedModels().filter((path) => !EXCLUDED.has(path));

describe.skipIf(models.length === 0)('simplify on shared models', () => {
  it.each(models)('%s keeps its outputs', async (path) => {
    const engine = await nodeEngine();
    const model = await readModel(sharedData(path)!);
    const { model: simple, records } = await runPasses(model, [simplify()], { engine });
    const record = records[0]!;
    rows.push(`${path}: ${count(model)} -> ${count(simple)} nodes, opset ${model.opset} -> ${simple.opset}, ${record.ms.toFixed(0)} ms`);
    expect(count(simple)).toBeLessThanOrEqual(count(model));
    // What is quantized stays quantized, and simplifying again finds nothing more.
    expect(count(simple, isQuantizer)).toBe(count(model, isQuantizer));
    const again = await runPasses(simple, [simplify()], { engine });
    expect(count(again.model)).toBe(count(simple));
    expect(again.changed).toBe(false);
    const a = await openSession(engine, model, { threads: 1 });
    const b = await openSession(engine, simple, { threads: 1 });
    const found = await findFeeds(a, model);
    const trials = [found.feeds];
    // Symbolic dimensions must stay symbolic: another batch size must work too, where the original takes it.
    const other = await randomFeeds(model, { shapes: {}, batch: 3, symbols: withoutBatch(found.symbols) });
    if (
      await a.run(other).then(
        () => true,
        () => false,
      )
    )
      trials.push(other);
    for (const feeds of trials) {
      const [x, y] = [await a.run(feeds), await b.run(feeds)];
      expect(Object.keys(y)).toEqual(Object.keys(x));
      for (const [name, tensor] of Object.entries(x)) {
        expect(y[name]!.dims, name).toEqual(tensor.dims);
        const [p, q] = [tensor.floats(), y[name]!.floats()];
        let scale = 0;
        let worst = 0;
        for (let i = 0; i < p.length; i++) {
          scale = Math.max(scale, Math.abs(p[i]!));
          worst = Math.max(worst, Math.abs(p[i]! - q[i]!));
        }
        expect(worst / Math.max(scale, 1e-3), `${name} differs`).toBeLessThan(1e-4);
      }
    }
    await Promise.all([a.release(), b.release()]);
  });

  afterAll(() => {
    if (rows.length > 0) process.stderr.write(`${rows.join('\n')}\n`);
  });
});

function withoutBatch(symbols: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(symbols).filter(([, size]) => size !== 1));
}
