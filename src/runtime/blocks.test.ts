import { join } from 'node:path';
import { expect, test } from 'vitest';
import { inferShapes } from '../analysis/shapes.js';
import { parseModel } from '../ir/text.js';
import { verifyGraph } from '../ir/verify.js';
import { extractGraph } from '../ir/walk.js';
import { nodeEngine } from '../node/engine.js';
import { readModel } from '../node/files.js';
import { cutIntoBlocks, runInBlocks } from './blocks.js';
import { randomFeeds } from './inputs.js';
import { openSession } from './session.js';

const DIGITS = join(import.meta.dirname, '../../examples/digits.onnx');

test('a model in blocks gives what it gives as a whole', async () => {
  const model = await readModel(DIGITS);
  inferShapes(model);
  const engine = await nodeEngine();
  const feeds = [await randomFeeds(model, { seed: 1 }), await randomFeeds(model, { seed: 2, batch: 3 })];
  const whole = await openSession(engine, model);
  for (const maxBytes of [1, 20_000, 1e9]) {
    const fractions: number[] = [];
    const results = await runInBlocks(engine, model, feeds, { maxBytes, onProgress: (f) => fractions.push(f) });
    expect(fractions.at(-1)).toBe(1);
    for (const [i, feed] of feeds.entries()) {
      const expected = (await whole.run(feed)).logits!.floats();
      results[i]!.logits!.floats().forEach((v, k) => {
        expect(v).toBeCloseTo(expected[k]!, 4);
      });
    }
  }
  await whole.release();
});

test('blocks keep to the limit, counting shared constants once', () => {
  const model = parseModel(`g (float[2] x) => (float[2] y) <float[2] w = {1,2}, float[2] v = {3,4}> {
    a = Add(x, w) b = Mul(a, w) c = Add(b, v) y = Relu(c) }`);
  expect(cutIntoBlocks(model.graph.nodes, 8).map((b) => b.map((n) => n.opType))).toEqual([
    ['Add', 'Mul'],
    ['Add', 'Relu'],
  ]);
  expect(cutIntoBlocks(model.graph.nodes, 16)).toHaveLength(1);
});

test('an extracted part is a valid graph with captured values as inputs', () => {
  const model = parseModel(`g (float[2] x, bool c) => (float[2] y) <float[2] w = {1,2}> {
    a = Relu(x)
    y = If(c) < then_branch = t () => (float[2] r) { r = Add(a, w) }, else_branch = e () => (float[2] q) { q = Identity(a) } >
  }`);
  const branch = model.graph.nodes[1]!;
  const part = extractGraph(
    model.graph,
    [branch],
    branch.outputs.filter((v) => v !== null),
  );
  verifyGraph(part);
  expect(part.inputs.map((v) => v.name)).toEqual(['c', 'a']);
  expect(part.initializers.map((v) => v.name)).toEqual(['w']);
});
