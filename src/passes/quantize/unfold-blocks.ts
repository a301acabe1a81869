// Products with weights in blocks (MatMulNBits) written as float products on weights that the runtime unfolds when it loads the model: a byte is looked up
// in a table of the codes it holds, multiplied by the scales, and laid out as a matrix; all of it hangs on constants alone and is computed once. The file keeps
// its 2, 4 or 8 bits a weight, memory and speed are those of float: for runtimes whose block kernels are slower than float products.
import { z } from 'zod';
import { Builder } from '../../ir/builder.js';
import { DTYPES } from '../../ir/dtype.js';
import type { Graph, Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { tensorTypeOf } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { walkGraphs } from '../../ir/walk.js';
import { definePass, type PassContext } from '../../pass/define.js';
import { replaceNode } from './replace.js';

export const unfoldBlocks = definePass({
  name: 'unfold-blocks',
  summary: 'block-quantized products computed in float on weights that unfold at load: the file stays small, the speed is that of float',
  options: z.object({}),
  needs: {},
  run: runUnfold,
});

async function runUnfold(model: Model, _options: object, ctx: PassContext): Promise<boolean> {
  const unfolded = new Map<Value, Value>();
  let count = 0;
  for (const graph of walkGraphs(model.graph)) {
    for (const node of graph.nodes) {
      if (node.domain !== 'com.microsoft' || node.opType !== 'MatMulNBits') continue;
      const reason = unfold(node, unfolded);
      if (reason === undefined) count++;
      else ctx.skip({ node: node.label, op: node.op, reason });
    }
  }
  for (const graph of walkGraphs(model.graph)) graph.pruneValues();
  ctx.note('unfolded', count);
  return count > 0;
}

/** Undefined where done, else the reason why the node stays. */
function unfold(node: Node, unfolded: Map<Value, Value>): string | undefined {
  const [data, codes, scales, zeros] = [0, 1, 2, 3].map((i) => node.input(i));
  if (!data || !codes || !scales) return 'it lacks an operand';
  if (node.input(4)) return 'its groups are in another order (g_idx)';
  const bits = node.int('bits', 4);
  if (![2, 4, 8].includes(bits)) return `its codes have ${bits} bits`;
  const zeroType = zeros && (tensorTypeOf(zeros)?.dtype ?? zeros.initializer?.dtype);
  if (zeros && zeroType !== 'uint8') return 'its zero points are not packed codes';
  const shape = { k: node.int('K', 0), n: node.int('N', 0), block: node.int('block_size', 32), bits };
  let weight = unfolded.get(codes);
  if (!weight) {
    weight = unfoldWeight(codes, scales, zeros ?? null, shape);
    unfolded.set(codes, weight);
  }
  const b = new Builder(node.graph, { before: node });
  const name = node.name || node.output().name;
  let y = b.op('MatMul', [data, weight], {}, { name: `${name}_MatMul` });
  const bias = node.input(5);
  if (bias) y = b.op('Add', [y, bias], {}, { name: `${name}_Add` });
  replaceNode(node, [y]);
  return undefined;
}

interface BlockShape {
  readonly k: number;
  readonly n: number;
  readonly block: number;
  readonly bits: number;
}

/** float [k, n] from codes [n, blocks, bytes], scales [n, blocks] and packed zero points; in the graph that holds the codes. */
function unfoldWeight(codes: Value, scales: Value, zeros: Value | null, { k, n, block, bits }: BlockShape): Value {
  const { graph } = codes;
  const b = new Builder(graph, { before: firstUse(graph, codes) });
  const name = (part: string) => `${codes.name}_${part}`;
  const blocks = Math.ceil(k / block);
  // Without zero points the middle code is zero.
  const table = tableOf(graph, bits, zeros ? 0 : 2 ** (bits - 1));
  const spread = (packed: Value, part: string, dims: readonly number[]) => {
    const bytes = b.op('Cast', [packed], { to: DTYPES.int32.code }, { name: name(`${part}_bytes`) });
    const numbers = b.op('Gather', [table, bytes], { axis: 0 }, { name: name(`${part}_numbers`) });
    return b.op('Reshape', [numbers, b.ints(name(`${part}_shape`), dims)], {}, { name: name(part) });
  };
  let numbers = spread(codes, 'codes', [n, blocks, block]);
  if (zeros) {
    const perRow = Math.ceil((blocks * bits) / 8) * (8 / bits);
    let offsets = spread(zeros, 'offsets', [n, perRow]);
    if (perRow !== blocks) offsets = cut(b, offsets, blocks, name('offsets_cut'));
    const column = b.op('Reshape', [offsets, b.ints(name('offset_column'), [n, blocks, 1])], {}, { name: name('offsets_column') });
    numbers = b.op('Sub', [numbers, column], {}, { name: name('centred') });
  }
  const column = b.op('Reshape', [scales, b.ints(name('scale_column'), [n, blocks, 1])], {}, { name: name('scales_column') });
  const floats = b.op('Mul', [numbers, column], {}, { name: name('floats') });
  let rows = b.op('Reshape', [floats, b.ints(name('rows'), [n, blocks * block])], {}, { name: name('float_rows') });
  if (blocks * block !== k) rows = cut(b, rows, k, name('rows_cut'));
  return b.op('Transpose', [rows], { perm: [1, 0] }, { name: name('float_matrix'), outputs: [name('unfolded')] });
}

/** The first `length` columns of a matrix. */
function cut(b: Builder, matrix: Value, length: number, name: string): Value {
  return b.op('Slice', [matrix, b.ints(`${name}_from`, [0]), b.ints(`${name}_to`, [length]), b.ints(`${name}_axis`, [1])], {}, { name });
}

/** float [256, codes in a byte]: the numbers that a byte holds, lowest bits first, less the middle. One for a graph, width and middle. */
function tableOf(graph: Graph, bits: number, middle: number): Value {
  const name = `numbers_of_${bits}_bits_less_${middle}`;
  const known = graph.ownValue(name);
  if (known?.isConstant) return known;
  const perByte = 8 / bits;
  const table = Float32Array.from({ length: 256 * perByte }, (_, i) => {
    const byte = Math.floor(i / perByte);
    return ((byte >> ((i % perByte) * bits)) & (2 ** bits - 1)) - middle;
  });
  return graph.addInitializer(name, Tensor.of('float', [256, perByte], table));
}

/** Behind what computes the codes, where they are no plain constant. */
function firstUse(graph: Graph, value: Value): Node | null {
  const own = graph.nodes.find((n) => n.inputs.includes(value));
  return own ?? graph.nodes[0] ?? null;
}
