// Shape arithmetic whose result is a run of dimensions of a graph input is read off that input: `Shape` with start and end (opset 15).
import { Builder } from '../../ir/builder.js';
import type { Graph, Value } from '../../ir/graph.js';
import { type Model, tensorTypeOf } from '../../ir/model.js';
import type { Dim } from '../../ir/type.js';
import { walkGraphs } from '../../ir/walk.js';
import type { PartialValue } from '../../ops/op.js';

/** Rewrites one-dimensional int64 values with at least one symbol in them. Returns how many. */
export function readShapesFromInputs(model: Model, values: ReadonlyMap<Value, PartialValue>): number {
  if (model.opset < 15) return 0;
  const inputs = model.graph.inputs.filter((v) => tensorTypeOf(v)?.shape != null);
  let count = 0;
  for (const graph of walkGraphs(model.graph)) {
    for (const node of graph.nodes) {
      if (node.domain === '' && node.opType === 'Shape') continue;
      for (const output of node.outputs) {
        if (!output) continue;
        const known = values.get(output);
        if (known?.dtype !== 'int64' || known.dims.length !== 1 || output.uses.length === 0 || output.isGraphOutput) continue;
        if (!known.items.some((x) => typeof x === 'string')) continue;
        const found = locate(known.items, inputs);
        if (!found) continue;
        replace(graph, output, found);
        count++;
      }
    }
  }
  return count;
}

interface Run {
  readonly input: Value;
  readonly start: number;
  readonly end: number;
}

function locate(items: readonly Dim[], inputs: readonly Value[]): Run | undefined {
  for (const input of inputs) {
    const shape = tensorTypeOf(input)!.shape!;
    for (let start = 0; start + items.length <= shape.length; start++) {
      if (items.every((x, i) => x !== null && x === shape[start + i])) return { input, start, end: start + items.length };
    }
  }
  return undefined;
}

function replace(graph: Graph, value: Value, { input, start, end }: Run): void {
  const b = new Builder(graph, { before: value.producer });
  const whole = start === 0 && end === tensorTypeOf(input)!.shape!.length;
  const result = b.op('Shape', [input], whole ? {} : { start, end }, { name: `${value.name}_shape` });
  result.type = value.type;
  graph.replaceValue(value, result);
}
