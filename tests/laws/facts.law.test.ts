// Law: the facts of an operator can be asked for under any shapes, known or not, fitting or not: nothing throws and axes parse.
// Inference may have failed before on the same node, and a report of the whole model is still wanted.
import { expect, test } from 'vitest';
import type { Node } from '../../src/ir/graph.js';
import type { Dim, Shape } from '../../src/ir/type.js';
import { parseAxes } from '../../src/ops/axes.js';
import type { OpRecord } from '../../src/ops/op.js';
import { opRecord } from '../../src/ops/registry.js';
import { Rng } from '../../src/util/rng.js';
import { allSamples, sampleName } from '../samples/all.js';
import { buildSample } from '../samples/build-sample.js';

const EXTENTS: readonly Dim[] = [0, 1, 2, 3, 8, 'n', 'floor(n/2)', null];

function randomShape(rng: Rng, extents: readonly Dim[]): Shape | null {
  if (rng.integer(6) === 0) return null;
  return Array.from({ length: rng.integer(6) }, () => extents[rng.integer(extents.length)]!);
}

function check(record: OpRecord, node: Node, rng: Rng): void {
  const shapes = node.inputs.map(() => randomShape(rng, EXTENTS));
  const text = typeof record.axes === 'function' ? record.axes(node, shapes) : record.axes;
  if (text !== 'opaque') parseAxes(text);
  if (typeof record.quant === 'function') record.quant(node);
  if (typeof record.cost !== 'function') return;
  const fixed = (count: number) => Array.from({ length: count }, () => randomShape(rng, [0, 1, 2, 8]) as readonly number[] | null);
  record.cost({ node, inputs: fixed(node.inputs.length), outputs: fixed(node.outputs.length) });
}

const files = new Map<string, Awaited<ReturnType<typeof allSamples>>>();
for (const entry of await allSamples()) files.set(entry.file, [...(files.get(entry.file) ?? []), entry]);

test.each([...files])('%s', (_, entries) => {
  const failures: string[] = [];
  for (const { sample } of entries) {
    const record = opRecord(sample.domain ?? '', sample.op);
    if (!record) continue;
    const { node } = buildSample(sample);
    const rng = new Rng(7).fork(sampleName(sample));
    try {
      for (let i = 0; i < 60; i++) check(record, node, rng);
    } catch (error) {
      failures.push(`${sampleName(sample)}: ${error instanceof Error ? error.stack?.split('\n').slice(0, 3).join(' ') : error}`);
    }
  }
  expect(failures).toEqual([]);
});
