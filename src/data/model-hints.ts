// What the graph says about the values its inputs may take: rows of the table an index input reads, and the longest sequence of a position table.
import type { Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';

/** Operators that hand indices on unchanged. */
const PASS_ON = new Set(['Cast', 'Identity', 'Reshape', 'Unsqueeze', 'Squeeze', 'Flatten', 'Transpose', 'Expand', 'Slice']);

function constantDims(value: Value | null): readonly number[] | undefined {
  if (value?.initializer) return value.initializer.dims;
  const node = value?.producer;
  if (node?.opType === 'Constant') return node.tensor('value')?.dims;
  // Tables stored quantized or in half precision come through one of these.
  return node?.opType === 'DequantizeLinear' || node?.opType === 'Cast' ? constantDims(node.input(0)) : undefined;
}

/** Exclusive upper bound of the indices that `value` may hold, from the tables it indexes (Gather, OneHot, embedding layers); undefined where none is found. */
export function indexLimit(value: Value, depth = 6): number | undefined {
  if (depth === 0) return undefined;
  let limit: number | undefined;
  const note = (n: number | undefined) => {
    if (n !== undefined && n > 0) limit = Math.min(limit ?? n, n);
  };
  for (const { node, index } of value.uses) {
    if ((node.opType === 'Gather' || node.opType === 'GatherBlockQuantized') && index === 1) {
      const dims = constantDims(node.input(0));
      if (dims) note(dims.at(node.int(node.opType === 'Gather' ? 'axis' : 'gather_axis', 0)));
    } else if (node.opType === 'OneHot' && index === 0) {
      const depthInput = node.input(1);
      const tensor = depthInput?.initializer ?? depthInput?.producer?.tensor('value');
      if (tensor) note(Number(tensor.numbers()[0]));
    } else if (node.opType === 'EmbedLayerNormalization' && index < 2) note(constantDims(node.input(2 + index))?.[0]);
    else if (PASS_ON.has(node.opType) && index === 0) for (const out of node.outputs) if (out) note(indexLimit(out, depth - 1));
  }
  return limit;
}

/** Rows of the learned position table, which no sequence may exceed; undefined where the model has none. By name, else by its indices not coming from an input. */
export function positionLimit(model: Model): number | undefined {
  const named: number[] = [];
  const structural: number[] = [];
  for (const node of model.graph.nodes) {
    if (node.opType !== 'Gather' || node.int('axis', 0) !== 0) continue;
    const table = node.input(0);
    const dims = constantDims(table);
    const rows = dims?.[0];
    if (dims?.length !== 2 || rows === undefined || rows < 8) continue;
    if (/pos(ition)?[^/]*emb|wpe|embed_positions/i.test(table!.name)) named.push(rows);
    else if (/(^|[/.])(range|arange|slice)|position/i.test(node.input(1)?.name ?? '') && !comesFromInput(node.input(1), 6))
      structural.push(rows);
  }
  const found = named.length > 0 ? named : structural;
  return found.length > 0 ? Math.min(...found) : undefined;
}

function comesFromInput(value: Value | null, depth: number): boolean {
  if (!value || depth === 0) return false;
  if (value.isGraphInput) return true;
  const node = value.producer;
  return node !== null && PASS_ON.has(node.opType) && comesFromInput(node.input(0), depth - 1);
}
