// Stores float weights in few bits, node by node: block-wise kernels where there are, else what turns codes to floats in front of the reader.
// A constant that several nodes read is stored once in the layout that serves them all.
import { Builder } from '../../ir/builder.js';
import { DTYPES } from '../../ir/dtype.js';
import type { Graph, Node, Value } from '../../ir/graph.js';
import type { Tensor } from '../../ir/tensor.js';
import { type BlockOptions, type MatrixShape, packedSizes, packTensor } from '../../quant/block-pack.js';
import { CHANNEL_WEIGHTS, scalesAlong } from '../../quant/channel-weights.js';
import { constantOperand, DerivedConstants, type ProductNode, productOf } from '../../quant/constant-weight.js';
import { derivedQuantized } from '../../quant/derived.js';
import { derivedTensors } from '../../quant/lazy.js';
import { type Granularity, quantTypeOf, type Scheme } from '../../quant/scheme.js';
import type { Selector } from '../../quant/selection.js';
import { firstReader } from '../../quant/weights.js';
import { lookupOf } from './lookup.js';
import { replaceNode } from './replace.js';
import type { Rounding } from './rounding.js';
import { StoredValues } from './stored-values.js';

export interface WeightOptions {
  readonly bits: 2 | 4 | 8;
  readonly block: number;
  readonly symmetric: boolean;
  readonly format: 'auto' | 'qdq';
  readonly accuracyLevel: number;
  readonly embeddings: boolean;
  readonly others: boolean;
  readonly minElements: number;
  /** Codes that are decided already; where it has none for a constant, weights are rounded to nearest when they are written. */
  readonly rounding?: Pick<Rounding, 'blocks' | 'channels'> | undefined;
  /** DequantizeLinear knows blocks (opset 21). */
  readonly blocksInQdq: boolean;
  readonly select: Selector;
  readonly skip: (node: Node, reason: string) => void;
}

const CONTRIB = 'com.microsoft';

export class WeightRewriter {
  readonly #options: WeightOptions;
  readonly #constants = new DerivedConstants();
  /** Restored floats by constant. */
  readonly #restored = new Map<Value, Value>();
  readonly #stored = new StoredValues();
  readonly counts: Record<string, number> = {};
  usesContrib = false;

  constructor(options: WeightOptions) {
    this.#options = options;
  }

  get rewritten(): number {
    return Object.values(this.counts).reduce((a, b) => a + b, 0);
  }

  rewrite(graph: Graph): void {
    for (const node of graph.nodes) {
      const done = this.#rewriteNode(node);
      if (typeof done === 'string') this.#options.skip(node, done);
      else if (done) this.counts[node.op] = (this.counts[node.op] ?? 0) + 1;
    }
  }

  #rewriteNode(node: Node): true | string | undefined {
    if (node.domain !== '') return undefined;
    if (node.opType === 'Gather') return this.#options.embeddings ? this.#lookup(node) : undefined;
    if (node.opType === 'MatMul' || node.opType === 'Gemm') return this.#product(node);
    const others = CHANNEL_WEIGHTS[node.opType];
    return others && this.#options.others ? this.#operands(node, others.inputs, others.axis(node)) : undefined;
  }

  #weightProblem(tensor: Tensor): string | undefined {
    if (tensor.dtype !== 'float') return `its weight is ${tensor.dtype}, not float`;
    if (tensor.size < this.#options.minElements) return `its weight has only ${tensor.size} elements`;
    return undefined;
  }

  // ---- products ----

  #product(node: Node): true | string | undefined {
    const p = productOf(node);
    if (typeof p !== 'object') {
      // Batched constant matrices and transposed data have no block kernel, but their weights can be stored in blocks all the same.
      const weight = constantOperand(node.input(1));
      return weight && !weight.transposed && weight.tensor.rank >= 2 ? this.#blocksInFront(node, weight.value) : p;
    }
    const excluded = this.#options.select(node);
    if (excluded !== undefined) return excluded;
    const problem = this.#weightProblem(p.weight.tensor);
    if (problem) return problem;
    if (this.#options.format === 'qdq') {
      return p.weight.transposed ? 'its weight is transposed by a node of its own' : this.#blocksInFront(node, p.weight.value);
    }
    this.#writeMatMulNBits(node, p);
    return true;
  }

  #writeMatMulNBits(node: Node, p: ProductNode): void {
    const { accuracyLevel } = this.#options;
    const bits = this.#bitsOf(p.weight.value, p.transposed);
    const block = this.#options.rounding?.blocks(p.weight.value, p.transposed)?.block ?? this.#options.block;
    const [codes, scales, zeros] = this.#packed(p.weight.value, { k: p.k, n: p.n, transposed: p.transposed });
    const b = new Builder(node.graph, { before: node });
    const name = node.name || node.output().name;
    let data = p.data;
    if (p.alpha !== 1) data = b.op('Mul', [data, b.scalar(`${name}_alpha`, 'float', p.alpha)], {}, { name: `${name}_alpha` });
    let y = b.op(
      'MatMulNBits',
      [data, codes, scales, zeros],
      { K: p.k, N: p.n, bits, block_size: block, ...(accuracyLevel > 0 ? { accuracy_level: accuracyLevel } : {}) },
      { domain: CONTRIB, name: `${name}_Q${bits}` },
    );
    if (p.bias) y = b.op('Add', [y, p.bias], {}, { name: `${name}_Add` });
    replaceNode(node, [y]);
    this.usesContrib = true;
  }

  #bitsOf(value: Value, transposed: boolean): number {
    return this.#options.rounding?.blocks(value, transposed)?.bits ?? this.#options.bits;
  }

  /** Codes, scales and zero points of the constant in the layout of MatMulNBits, each once. */
  #packed(value: Value, shape: MatrixShape): readonly Value[] {
    const ready = this.#options.rounding?.blocks(value, shape.transposed);
    return ready ? this.#stored.operands(value, ready).filter((v) => v !== undefined) : this.#packedConstants(value, shape);
  }

  #packedConstants(value: Value, shape: MatrixShape): Value[] {
    const { bits, block, symmetric } = this.#options;
    const options: BlockOptions = { bits, block, symmetric };
    return this.#constants.get(value, `packed ${shape.transposed}`, () => {
      const sizes = packedSizes(shape, options);
      const [codes, scales, zeros] = derivedTensors(
        value.initializer!,
        [
          { dtype: 'uint8', dims: [shape.n, sizes.blocks, sizes.blob], byteLength: sizes.codes },
          { dtype: 'float', dims: [shape.n, sizes.blocks], byteLength: sizes.scales * 4 },
          ...(symmetric ? [] : [{ dtype: 'uint8' as const, dims: [shape.n, sizes.zeroPoints / shape.n], byteLength: sizes.zeroPoints }]),
        ],
        (tensor) => {
          const packed = packTensor(tensor, shape, options);
          return [packed.codes, new Uint8Array(packed.scales.buffer), ...(packed.zeroPoints ? [packed.zeroPoints] : [])];
        },
      );
      return [[`Q${bits}`, codes!] as const, ['scales', scales!] as const, ...(zeros ? [['zero_points', zeros] as const] : [])];
    });
  }

  // ---- embeddings ----

  #lookup(node: Node): true | string | undefined {
    const table = lookupOf(node);
    if (typeof table !== 'object') return table;
    const excluded = this.#options.select(node);
    if (excluded !== undefined) return excluded;
    const tensor = table.initializer!;
    const problem = this.#weightProblem(tensor);
    if (problem) return problem;
    const { block } = this.#options;
    const bits = this.#bitsOf(table, true);
    const [rows, width] = tensor.dims as [number, number];
    if (this.#options.format === 'qdq') return this.#blockedGather(node, table, width);
    if (width % block !== 0) return `its rows of ${width} are no multiple of the block of ${block}`;
    // The same bytes serve a product with the transposed table (tied weights); only the dimensions differ.
    const [packed, scales, zeros] = this.#packed(table, { k: width, n: rows, transposed: true });
    const b = new Builder(node.graph, { before: node });
    const name = node.name || node.output().name;
    const codes = this.#rowsOf(b, table, packed!, [rows, (width * bits) / 8]);
    const y = b.op(
      'GatherBlockQuantized',
      [codes, node.input(1), scales, zeros],
      { bits, block_size: block, gather_axis: 0, quantize_axis: 1 },
      { domain: CONTRIB, name: `${name}_Q${bits}` },
    );
    replaceNode(node, [y]);
    this.usesContrib = true;
    return true;
  }

  /** Packed codes as [rows, bytes]: other dimensions where only lookups read them, else a Reshape that the runtime folds at load. */
  #rowsOf(b: Builder, table: Value, packed: Value, dims: [number, number]): Value {
    if (packed.isConstant && packed.readerCount === 0 && table.users.every((user) => user.opType === 'Gather')) {
      return this.#constants.get(packed, 'rows', () => [['rows', packed.initializer!.reshape(dims)]])[0]!;
    }
    return b.op('Reshape', [packed, b.ints(`${table.name}_rows`, dims)], {}, { name: `${table.name}_rows` });
  }

  /** Standard operators only: codes and scales of the rows looked up, turned back to float by DequantizeLinear. */
  #blockedGather(node: Node, table: Value, width: number): true | string {
    const { block } = this.#options;
    if (!this.#options.blocksInQdq) return 'blocks need opset 21';
    const b = new Builder(node.graph, { before: node });
    const indices = node.input(1);
    const name = node.name || node.output().name;
    const scheme: Scheme = { dtype: 'int8', symmetry: 'symmetric', granularity: { kind: 'block', axis: 1, size: Math.min(block, width) } };
    const [codes, scales] = this.#constants.get(table, 'blocked rows', () => derivedQuantized(table.initializer!, scheme));
    const rows = b.op('Gather', [codes, indices], { axis: 0 }, { name: `${name}_codes` });
    const steps = b.op('Gather', [scales, indices], { axis: 0 }, { name: `${name}_scales` });
    replaceNode(node, [
      b.op('DequantizeLinear', [rows, steps], { axis: -1, block_size: Math.min(block, width) }, { name: `${name}_DequantizeLinear` }),
    ]);
    return true;
  }

  // ---- everything else ----

  /** Weights stored in blocks along the axis that is summed over, in front of a product. */
  #blocksInFront(node: Node, value: Value): true | string | undefined {
    const excluded = this.#options.select(node);
    if (excluded !== undefined) return excluded;
    const tensor = value.initializer!;
    const problem = this.#weightProblem(tensor);
    if (problem) return problem;
    if (!this.#options.blocksInQdq) return 'blocks need opset 21';
    const transposed = node.opType === 'Gemm' && node.int('transB', 0) !== 0;
    const axis = tensor.rank - (transposed ? 1 : 2);
    const size = Math.min(this.#options.block, tensor.dims[axis]!);
    this.#dequantizeInFront(value, {
      // DequantizeLinear takes 2-bit codes only from opset 25, which runtimes do not have yet.
      dtype: quantTypeOf(Math.max(this.#options.bits, 4), this.#options.symmetric),
      symmetry: this.#options.symmetric ? 'absmax' : 'asymmetric',
      granularity: { kind: 'block', axis, size },
    });
    return true;
  }

  /** Weights of other operators: 8 bits with a scale per channel. */
  #operands(node: Node, inputs: readonly number[], axis: number): true | string | undefined {
    const excluded = this.#options.select(node);
    if (excluded !== undefined) return excluded;
    let done: true | string | undefined;
    for (const index of inputs) {
      const value = node.input(index);
      if (!value?.isConstant || !value.initializer || this.#restored.has(value)) continue;
      const problem = this.#weightProblem(value.initializer);
      if (problem) {
        done ??= problem;
        continue;
      }
      const granularity = scalesAlong(value.initializer, axis);
      this.#dequantizeInFront(value, { dtype: 'int8', symmetry: 'symmetric', granularity }, this.#options.format === 'auto');
      done = true;
    }
    return done;
  }

  /** `folded`: by Cast and Mul, which ONNX Runtime folds at load. It does not fold DequantizeLinear: a convolution behind one runs 1.3 to 1.7 times as long. */
  #dequantizeInFront(value: Value, scheme: Scheme, folded = false): void {
    const [codes, scales, zeros] = this.#constants.get(value, 'in front', () => {
      const ready = this.#options.rounding?.channels(value);
      if (!ready) return derivedQuantized(value.initializer!, scheme);
      return [
        ['quantized', ready.codes],
        ['scale', ready.scale],
      ];
    });
    const g = scheme.granularity;
    const home = value.graph;
    const single = scales!.initializer!.rank === 0;
    const attributes = single || g.kind === 'tensor' ? {} : g.kind === 'block' ? { axis: g.axis, block_size: g.size } : { axis: g.axis };
    const uses = [...value.uses];
    const b = new Builder(home, { before: firstReader(home, value) });
    const name = `${value.name}_dequantized`;
    const y =
      folded && !zeros && codes!.initializer!.dtype === 'int8'
        ? b.op(
            'Mul',
            [b.op('Cast', [codes!], { to: DTYPES.float.code }, { name: `${value.name}_Cast` }), spread(scales!, value, g)],
            {},
            {
              name: `${value.name}_Mul`,
              outputs: [name],
            },
          )
        : b.op('DequantizeLinear', [codes, scales, zeros], attributes, { name: `${value.name}_DequantizeLinear`, outputs: [name] });
    if (value.type) y.type = value.type;
    for (const { node, index } of uses) node.setInput(index, y);
    this.#restored.set(value, y);
  }
}

/** Scales of channels in the form that broadcasts over the weight; those of blocks have a last axis of one element already. */
function spread(scales: Value, weight: Value, granularity: Granularity): Value {
  if (granularity.kind === 'channel') {
    const dims = weight.initializer!.dims.map((d, i) => (i === granularity.axis ? d : 1));
    scales.graph.setInitializer(scales, scales.initializer!.reshape(dims));
  }
  return scales;
}
