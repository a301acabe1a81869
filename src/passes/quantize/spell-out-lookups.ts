// GatherBlockQuantized in standard operators. The builds of onnxruntime-web with WebGPU, which transformers.js loads, have no kernel of it for their
// WebAssembly device. The rows looked up are expanded by a table: each byte holds 8 / bits codes, and Gather on [256, 8 / bits] floats unpacks them; only
// the rows that are read cost anything, and the file holds the same bytes.
import { z } from 'zod';
import { inferShapes } from '../../analysis/shapes.js';
import { Builder } from '../../ir/builder.js';
import { DTYPES } from '../../ir/dtype.js';
import type { Graph, Node, Value } from '../../ir/graph.js';
import { tensorTypeOf } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { walkGraphs } from '../../ir/walk.js';
import { definePass } from '../../pass/define.js';
import { replaceNode } from './replace.js';

export const spellOutLookups = definePass({
  name: 'spell-out-lookups',
  summary: 'block-quantized lookups in standard operators, which every runtime has',
  options: z.object({}),
  needs: {},
  async run(model, _options, ctx) {
    inferShapes(model);
    const writer = new LookupWriter(model.graph);
    let count = 0;
    for (const graph of walkGraphs(model.graph)) {
      for (const node of graph.nodes) {
        if (node.op !== 'com.microsoft.GatherBlockQuantized') continue;
        const problem = writer.replace(node);
        if (problem === undefined) count++;
        else ctx.skip({ node: node.label, op: node.op, reason: problem });
      }
    }
    ctx.note('lookups', count);
    return count > 0;
  },
});

class LookupWriter {
  readonly #main: Graph;
  readonly #tables = new Map<number, Value>();

  constructor(main: Graph) {
    this.#main = main;
  }

  /** Answers why the node was left, or undefined where it was replaced. */
  replace(node: Node): string | undefined {
    const codes = node.input(0);
    const indices = node.input(1);
    const scales = node.input(2);
    const rank = tensorTypeOf(indices)?.shape?.length;
    if (!codes || !indices || !scales || tensorTypeOf(codes)?.dtype !== 'uint8') return 'its codes are not packed in bytes';
    if (node.input(3)) return 'it has zero points';
    if (node.int('gather_axis', 0) !== 0 || rank === undefined) return 'it looks up along another axis, or indices of unknown rank';
    const width = tensorTypeOf(node.output())?.shape?.at(-1);
    const blocks = tensorTypeOf(scales)?.shape?.[1];
    if (typeof width !== 'number' || typeof blocks !== 'number') return 'the width of its rows is not known';
    const bits = node.int('bits', 4);
    const block = node.int('block_size', 128);
    if (width !== blocks * block) return `its rows of ${width} are no multiple of the block of ${block}`;
    const b = new Builder(node.graph, { before: node });
    const name = (part: string) => ({ name: `${node.name || node.output().name}_${part}` });
    const keep = new Array<number>(rank).fill(0);
    const bytes = b.op('Gather', [codes, indices], { axis: 0 }, name('bytes'));
    const numbers = b.op('Cast', [bytes], { to: DTYPES.int32.code }, name('numbers'));
    const unpacked = b.op('Gather', [this.#table(bits), numbers], { axis: 0 }, name('unpacked'));
    const grouped = b.op('Reshape', [unpacked, b.ints(`${name('').name}blocks`, [...keep, blocks, block])], {}, name('grouped'));
    const steps = b.op('Gather', [scales, indices], { axis: 0 }, name('steps'));
    const column = b.op('Unsqueeze', [steps, b.ints(`${name('').name}axis`, [-1])], {}, name('column'));
    const scaled = b.op('Mul', [grouped, column], {}, name('scaled'));
    replaceNode(node, [b.op('Reshape', [scaled, b.ints(`${name('').name}row`, [...keep, width])], {}, name('row'))]);
    return undefined;
  }

  /** Values of the codes in each byte, less the middle code: [256, 8 / bits], the first in the low bits. */
  #table(bits: number): Value {
    let table = this.#tables.get(bits);
    if (!table) {
      const perByte = 8 / bits;
      const mask = (1 << bits) - 1;
      const values = Float32Array.from({ length: 256 * perByte }, (_, i) => {
        const byte = Math.floor(i / perByte);
        return ((byte >> ((i % perByte) * bits)) & mask) - (1 << (bits - 1));
      });
      table = this.#main.addInitializer(`codes_of_${bits}_bits`, Tensor.of('float', [256, perByte], values));
      this.#tables.set(bits, table);
    }
    return table;
  }
}
