// Products whose weights are stored by a codebook: 4-bit floats (com.microsoft.MatMulBnb4) or single signs. No runtime multiplies by signs: a table
// of 256 rows turns each stored byte into 2-bit codes for MatMulNBits. All of that is constant, so the runtime does it once, when it loads the
// model: the file holds one bit per weight, the memory two.
import { Builder } from '../../ir/builder.js';
import { DTYPES } from '../../ir/dtype.js';
import type { Graph, Node, Value } from '../../ir/graph.js';
import { Tensor } from '../../ir/tensor.js';
import { type FourBitFloat, packFourBitFloats, QUANT_TYPE } from '../../quant/bnb4.js';
import { DerivedConstants, type ProductNode, productOf } from '../../quant/constant-weight.js';
import { derivedTensors } from '../../quant/lazy.js';
import type { Selector } from '../../quant/selection.js';
import { packRoundedSigns, packSigns, signTable } from '../../quant/sign-pack.js';
import { firstReader } from '../../quant/weights.js';
import { replaceNode } from './replace.js';
import type { RoundedSigns } from './rounding.js';

export type Codebook = FourBitFloat | 'sign';

export interface CodebookOptions {
  readonly codebook: Codebook;
  readonly block: number;
  readonly minElements: number;
  /** Signs that are decided already; the others are those of the weights. */
  readonly signs?: RoundedSigns | undefined;
  readonly select: Selector;
  readonly skip: (node: Node, reason: string) => void;
}

const CONTRIB = 'com.microsoft';
/** Of MatMulNBits. */
const SMALLEST_BLOCK = 16;

/** Block of signs along k: no longer than k asks for. */
export function signBlock(block: number, k: number): number {
  return Math.min(block, Math.max(SMALLEST_BLOCK, 2 ** Math.ceil(Math.log2(k))));
}

export class CodebookRewriter {
  readonly #options: CodebookOptions;
  readonly #constants = new DerivedConstants();
  /** Weights read through the sign table, by constant and orientation. */
  readonly #expanded = new Map<Value, Map<boolean, Value>>();
  readonly #tables = new Map<Graph, Value>();
  readonly counts: Record<string, number> = {};

  constructor(options: CodebookOptions) {
    this.#options = options;
  }

  get rewritten(): number {
    return Object.values(this.counts).reduce((a, b) => a + b, 0);
  }

  rewrite(graph: Graph): void {
    for (const node of graph.nodes) {
      const done = this.#product(node);
      if (typeof done === 'string') this.#options.skip(node, done);
      else if (done) this.counts[node.op] = (this.counts[node.op] ?? 0) + 1;
    }
  }

  #product(node: Node): true | string | undefined {
    const p = productOf(node);
    // What is no product of two dimensions is left to others.
    if (typeof p !== 'object') return undefined;
    const { minElements, select, codebook } = this.#options;
    const excluded = select(node);
    if (excluded !== undefined) return excluded;
    if (p.weight.tensor.size < minElements) return `its weight has only ${p.weight.tensor.size} elements`;
    if (!p.weight.tensor.floats().every(Number.isFinite)) return 'its weight holds numbers that are not finite';
    const b = new Builder(node.graph, { before: node });
    const name = node.name || node.output().name;
    let data = p.data;
    if (p.alpha !== 1) data = b.op('Mul', [data, b.scalar(`${name}_alpha`, 'float', p.alpha)], {}, { name: `${name}_alpha` });
    let y = codebook === 'sign' ? this.#signs(b, p, data, name) : this.#floats(b, p, data, name, codebook);
    if (p.bias) y = b.op('Add', [y, p.bias], {}, { name: `${name}_Add` });
    replaceNode(node, [y]);
    return true;
  }

  #floats(b: Builder, p: ProductNode, data: Value, name: string, kind: FourBitFloat): Value {
    const { block } = this.#options;
    const { value } = p.weight;
    const [codes, largest] = this.#constants.get(value, `bnb4 ${p.transposed}`, () => {
      const size = p.k * p.n;
      const [c, m] = derivedTensors(
        value.initializer!,
        [
          { dtype: 'uint8', dims: [Math.ceil(size / 2)], byteLength: Math.ceil(size / 2) },
          { dtype: 'float', dims: [Math.ceil(size / block)], byteLength: Math.ceil(size / block) * 4 },
        ],
        (tensor) => {
          const packed = packFourBitFloats(rowsOf(tensor, p), block, kind);
          return [packed.codes, new Uint8Array(packed.largest.buffer)];
        },
      );
      return [
        ['Bnb4', c!],
        ['absmax', m!],
      ];
    });
    const attributes = { K: p.k, N: p.n, block_size: block, quant_type: QUANT_TYPE[kind] };
    return b.op('MatMulBnb4', [data, codes, largest], attributes, { domain: CONTRIB, name: `${name}_Bnb4` });
  }

  #signs(b: Builder, p: ProductNode, data: Value, name: string): Value {
    const block = signBlock(this.#options.block, p.k);
    const { value } = p.weight;
    const blocks = Math.ceil(p.k / block);
    const [bits, scales] = this.#constants.get(value, `signs ${p.transposed}`, () => {
      const [s, m] = derivedTensors(
        value.initializer!,
        [
          { dtype: 'uint8', dims: [p.n, blocks, block / 8], byteLength: (p.n * blocks * block) / 8 },
          { dtype: 'float', dims: [p.n, blocks], byteLength: p.n * blocks * 4 },
        ],
        (tensor) => {
          const ready = this.#options.signs?.(value, p.transposed);
          const packed = ready ? packRoundedSigns(ready) : packSigns(tensor.floats(), p, block);
          return [packed.bits, new Uint8Array(packed.scales.buffer)];
        },
      );
      return [
        ['signs', s!],
        ['scales', m!],
      ];
    });
    const codes = this.#expand(value, bits!, p, [p.n, blocks, block / 4]);
    const attributes = { K: p.k, N: p.n, bits: 2, block_size: block };
    return b.op('MatMulNBits', [data, codes, scales], attributes, { domain: CONTRIB, name: `${name}_Q1` });
  }

  /** Codes of 2 bits from the table, once for each constant, where the constant lives. */
  #expand(source: Value, bits: Value, p: ProductNode, dims: readonly number[]): Value {
    let forms = this.#expanded.get(source);
    if (!forms) {
      forms = new Map<boolean, Value>();
      this.#expanded.set(source, forms);
    }
    let codes = forms.get(p.transposed);
    if (!codes) {
      const home = source.graph;
      const b = new Builder(home, { before: firstReader(home, source) });
      const name = (part: string) => `${source.name}_${part}${p.transposed ? '' : '_columns'}`;
      const indices = b.op('Cast', [bits], { to: DTYPES.int32.code }, { name: name('bytes') });
      const pairs = b.op('Gather', [this.#table(home), indices], { axis: 0 }, { name: name('pairs') });
      codes = b.op('Reshape', [pairs, b.ints(name('shape'), dims)], {}, { name: name('codes') });
      forms.set(p.transposed, codes);
    }
    return codes;
  }

  #table(home: Graph): Value {
    let table = this.#tables.get(home);
    if (!table) {
      table = home.addInitializer('sign_table', new Tensor('uint8', [256, 2], signTable()));
      this.#tables.set(home, table);
    }
    return table;
  }
}

/** The weights as rows of outputs, [n, k]. */
function rowsOf(tensor: Tensor, { k, n, transposed }: ProductNode): Float32Array {
  const data = tensor.floats();
  if (transposed) return data;
  const out = new Float32Array(data.length);
  for (let c = 0; c < n; c++) for (let r = 0, from = c; r < k; r++, from += n) out[c * k + r] = data[from]!;
  return out;
}
