// Constants of stored blocks as operands of a kernel: planes joined to codes, multiples times their steps, offsets divided by scales. All of it
// hangs on constants alone, so the runtime computes it once, when it loads the model.
import { Builder } from '../../ir/builder.js';
import { DTYPES } from '../../ir/dtype.js';
import type { Graph, Value } from '../../ir/graph.js';
import type { Tensor } from '../../ir/tensor.js';
import { type Plane, planeTable } from '../../quant/bit-planes.js';
import type { StoredBlocks, TwoLevels } from '../../quant/stored-blocks.js';

/** Codes, scales, and zero points where there are any. */
export type BlockOperands = readonly [codes: Value, scales: Value, zeros?: Value];

/** Writes each constant once, in the graph where it lives. */
export class StoredValues {
  readonly #written = new Map<StoredBlocks, BlockOperands>();
  readonly #tables = new Map<Graph, Map<string, Value>>();

  operands(source: Value, stored: StoredBlocks): BlockOperands {
    let made = this.#written.get(stored);
    if (!made) {
      const b = new Builder(source.graph, { before: source.graph.nodes[0] ?? null });
      const name = (part: string) => `${source.name}_${part}`;
      const codes = stored.codes
        ? source.graph.addInitializer(name(`Q${stored.bits}`), stored.codes)
        : this.#joined(b, source.graph, stored, name(`Q${stored.fileBits}`));
      const scales = numbers(b, stored, stored.scales, name('scales'));
      made = stored.zeros ? [codes, scales, zerosOf(b, stored, scales, name)] : [codes, scales];
      this.#written.set(stored, made);
    }
    return made;
  }

  #joined(b: Builder, graph: Graph, { planes, bits, n, blocks, block }: StoredBlocks, name: string): Value {
    const shape = b.ints(`${name}_shape`, [n, blocks, (block * bits) / 8]);
    const spread = planes.map(({ plane, data }) => {
      const part = `${name}_plane${plane.at}`;
      const indices = b.op('Cast', [b.constant(part, data)], { to: DTYPES.int32.code }, { name: `${part}_bytes` });
      const pieces = b.op('Gather', [this.#table(graph, plane, bits as 4 | 8), indices], { axis: 0 }, { name: `${part}_spread` });
      return b.op('Reshape', [pieces, shape], {}, { name: `${part}_codes` });
    });
    return spread.reduce((a, c) => b.op('BitwiseOr', [a, c], {}, { name: `${name}_codes` }));
  }

  #table(graph: Graph, plane: Plane, width: 4 | 8): Value {
    let tables = this.#tables.get(graph);
    if (!tables) {
      tables = new Map<string, Value>();
      this.#tables.set(graph, tables);
    }
    const key = `plane_${plane.bits}_at_${plane.at}_of_${width}`;
    let table = tables.get(key);
    if (!table) {
      table = graph.addInitializer(key, planeTable(plane, width));
      tables.set(key, table);
    }
    return table;
  }
}

function zerosOf(b: Builder, stored: StoredBlocks, scales: Value, name: (part: string) => string): Value {
  const zeros = stored.zeros!;
  if (!('steps' in zeros)) return b.constant(name('zero_points'), zeros);
  return b.op('Div', [numbers(b, stored, zeros, name('offsets')), scales], {}, { name: name('zero_points') });
}

/** Float [n, blocks]. */
function numbers(b: Builder, { n, blocks }: StoredBlocks, stored: Tensor | TwoLevels, name: string): Value {
  if (!('steps' in stored)) return b.constant(name, stored);
  const { steps } = stored;
  const multiples = b.op('Cast', [b.constant(name, stored.multiples)], { to: DTYPES.float.code }, { name: `${name}_multiples` });
  const held = b.constant(`${name}_step`, steps);
  const step = steps.dtype === 'float' ? held : b.op('Cast', [held], { to: DTYPES.float.code }, { name: `${name}_steps` });
  const whole = b.op('Mul', [multiples, step], {}, { name });
  return steps.rank === 2 ? whole : b.op('Reshape', [whole, b.ints(`${name}_shape`, [n, blocks])], {}, { name: `${name}_rows` });
}
