// Moves constants of If, Loop and Scan bodies into the main graph. onnxruntime-web finds external data only there, and constants that are equal in two
// bodies (the branches of a merged decoder) can then be stored once.
import { z } from 'zod';
import type { Graph, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { walkGraphs } from '../../ir/walk.js';
import { definePass } from '../../pass/define.js';

const options = z.object({
  minBytes: z.number().int().min(0).default(1024).describe('smaller constants stay where they are'),
});

export const hoistConstants = definePass({
  name: 'hoist-constants',
  summary: 'constants of subgraphs move into the main graph',
  options,
  needs: {},
  async run(model, { minBytes }, ctx) {
    const moved = hoist(model, minBytes);
    ctx.note('moved', moved);
    return moved > 0;
  },
});

function hoist(model: Model, minBytes: number): number {
  const main = model.graph;
  let moved = 0;
  for (const graph of walkGraphs(main)) {
    if (graph === main) continue;
    for (const value of graph.initializers) if (movable(graph, value, minBytes)) moved += move(main, graph, value);
  }
  return moved;
}

/** What a body answers or takes as an input belongs to it. */
function movable(graph: Graph, value: Value, minBytes: number): boolean {
  return value.isConstant && !value.isGraphOutput && value.graph === graph && value.initializer!.byteLength >= minBytes;
}

function move(main: Graph, graph: Graph, value: Value): number {
  const twin = main.addInitializer(value.name, value.initializer!);
  for (const { node, index } of [...value.uses]) node.setInput(index, twin);
  graph.pruneValues();
  return 1;
}
