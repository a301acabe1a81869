// Replaces float nodes by dynamically quantized ones, node by node. Activations read by several products are quantized once per graph.
import { PareError } from '../../errors.js';
import { Builder } from '../../ir/builder.js';
import { DTYPES } from '../../ir/dtype.js';
import type { Graph, Node, Value } from '../../ir/graph.js';
import { tensorTypeOf } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { DerivedConstants, type ProductNode, productOf, replaceConstant } from '../../quant/constant-weight.js';
import { codesOf, type Granularity, type Scheme } from '../../quant/scheme.js';
import type { Selector } from '../../quant/selection.js';
import { codesTensor, quantizeTensor } from '../../quant/tensor.js';
import { transposeMatrices } from '../../quant/transpose.js';
import { lookupOf, writeRowLookup } from './lookup.js';
import { replaceNode } from './replace.js';
import { storableWeights, storeWeight } from './stored.js';

export interface DynamicOptions {
  readonly weights: Omit<Scheme, 'granularity'>;
  readonly perChannel: boolean;
  readonly conv: 'float' | 'integer';
  readonly embeddings: boolean;
  /** Weights of nodes without a dynamic kernel are stored in 8 bits. */
  readonly others: boolean;
  /** Why products stay float; undefined where the runtime has kernels. */
  readonly products?: string | undefined;
  readonly minElements: number;
  readonly select: Selector;
  readonly skip: (node: Node, reason: string) => void;
}

/** An activation quantized at run time. */
interface Quantized {
  readonly codes: Value;
  readonly scale: Value;
  readonly zero: Value;
}

const CONTRIB = 'com.microsoft';

export class DynamicRewriter {
  readonly #options: DynamicOptions;
  readonly #constants = new DerivedConstants();
  readonly #activations = new Map<Graph, Map<Value, Quantized>>();
  /** Weights as they come back from 8 bits. */
  readonly #restored = new Set<Value>();
  readonly counts: Record<string, number> = {};
  usesContrib = false;

  constructor(options: DynamicOptions) {
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

  /** Float readers that are left of a quantized constant read it through DequantizeLinear, so that the file holds it once. */
  finish(): void {
    for (const source of this.#constants.sources()) {
      if (source.readerCount === 0 || source.initializer === null) continue;
      const axis = ['rows', 'columns'].findIndex((form) => this.#constants.has(source, form));
      if (axis < 0) continue;
      const [codes, scale] = axis === 0 ? this.#rows(source) : this.#columns(source, source.initializer);
      const attributes = scale.initializer?.rank === 0 ? {} : { axis };
      replaceConstant(source, (graph, before) =>
        new Builder(graph, { before }).op('DequantizeLinear', [codes, scale, this.#zerosOf(codes, scale)], attributes, {
          outputs: [`${source.name}_dequantized`],
        }),
      );
    }
  }

  /** True where rewritten, a reason where it could have been, undefined where there is nothing to do. */
  #rewriteNode(node: Node): true | string | undefined {
    const rewrite = this.#rewriterOf(node);
    if (!rewrite) return undefined;
    const excluded = this.#options.select(node);
    if (excluded !== undefined) return excluded;
    try {
      return rewrite(node);
    } catch (error) {
      // Weights are quantized before anything is changed, so a node whose weight cannot be is simply left.
      if (error instanceof PareError && error.code === 'E_DATA') return error.message;
      throw error;
    }
  }

  #rewriterOf(node: Node): ((node: Node) => true | string | undefined) | undefined {
    const { products } = this.#options;
    if (products !== undefined && node.opType !== 'Gather')
      return storableWeights(node).length > 0 ? (n) => this.#stored(n, products) : undefined;
    if (node.domain === CONTRIB) return node.opType === 'Attention' ? (n) => this.#attention(n) : undefined;
    if (node.domain !== '') return undefined;
    switch (node.opType) {
      case 'MatMul':
      case 'Gemm':
        return (n) => this.#product(n);
      case 'LSTM':
        return (n) => this.#lstm(n);
      case 'Conv':
        return (n) => this.#conv(n);
      case 'Gather':
        return this.#options.embeddings ? (n) => this.#lookup(n) : undefined;
      case 'GRU':
      case 'RNN':
      case 'ConvTranspose':
        return (n) => this.#stored(n, `there is no dynamically quantized ${n.opType} kernel`);
      default:
        return undefined;
    }
  }

  /** Why a constant is not worth or able to be quantized. */
  #weightProblem(tensor: Tensor): string | undefined {
    if (tensor.dtype !== 'float') return `its weight is ${tensor.dtype}, not float`;
    if (tensor.size < this.#options.minElements) return `its weight has only ${tensor.size} elements`;
    return undefined;
  }

  /** Code of zero: 0 for signed weights, 128 for unsigned ones. */
  get #middle(): number {
    return codesOf(this.#options.weights).middle;
  }

  #zeros(dims: readonly number[]): Tensor {
    const count = dims.reduce((a, b) => a * b, 1);
    return codesTensor(this.#options.weights.dtype, dims, new Float64Array(count).fill(this.#middle));
  }

  /** Zero points for scales of this shape; null where they are all 0, which operators assume. */
  #zerosOf(codes: Value, scale: Value): Value | null {
    if (this.#middle === 0) return null;
    return this.#constants.get(codes, 'zero points', () => [['zero_points', this.#zeros(scale.initializer!.dims)]])[0]!;
  }

  /** One zero point for a whole matrix, where it is not 0. */
  #weightZero(codes: Value): Value | null {
    if (this.#middle === 0) return null;
    return this.#constants.get(codes, 'zero point', () => [['zero_point', this.#zeros([])]])[0]!;
  }

  #scheme(granularity: Granularity): Scheme {
    return { ...this.#options.weights, granularity: this.#options.perChannel ? granularity : { kind: 'tensor' } };
  }

  /** Codes and scales of a matrix with one scale per row (axis 0). */
  #rows(value: Value): [Value, Value] {
    return this.#constants.get(value, 'rows', () => {
      const q = quantizeTensor(value.initializer!, { ...this.#options.weights, granularity: { kind: 'channel', axis: 0 } });
      return [
        ['quantized', q.data],
        ['scale', q.scale],
      ];
    }) as [Value, Value];
  }

  /** Codes and scales of a matrix with one scale per column (axis 1). */
  #columns(value: Value, tensor: Tensor): [Value, Value] {
    return this.#constants.get(value, 'columns', () => {
      const q = quantizeTensor(tensor, this.#scheme({ kind: 'channel', axis: 1 }));
      return [
        ['quantized', q.data],
        ['scale', q.scale],
      ];
    }) as [Value, Value];
  }

  #quantizeActivation(b: Builder, value: Value): Quantized {
    let known = this.#activations.get(b.graph);
    if (!known) {
      known = new Map<Value, Quantized>();
      this.#activations.set(b.graph, known);
    }
    let q = known.get(value);
    if (!q) {
      const node = b.node(
        'DynamicQuantizeLinear',
        [value],
        {},
        {
          name: `${value.name}_DynamicQuantizeLinear`,
          outputs: [`${value.name}_quantized`, `${value.name}_scale`, `${value.name}_zero_point`],
        },
      );
      q = { codes: node.output(0), scale: node.output(1), zero: node.output(2) };
      known.set(value, q);
    }
    return q;
  }

  // ---- products ----

  #product(node: Node): true | string | undefined {
    const p = productOf(node);
    if (typeof p !== 'object') return p;
    const dtype = tensorTypeOf(p.data)?.dtype;
    if (dtype !== undefined && dtype !== 'float') return `its data is ${dtype}, not float`;
    const problem = this.#weightProblem(p.weight.tensor);
    if (problem) return problem;
    const b = new Builder(node.graph, { before: node });
    const [codes, scale] = this.#matrix(b, p);
    const a = this.#quantizeActivation(b, p.data);
    const name = node.name || node.output().name;
    const sums = b.op('MatMulInteger', [a.codes, codes, a.zero, this.#weightZero(codes)], {}, { name: `${name}_MatMulInteger` });
    const steps = b.op('Mul', [a.scale, this.#scaled(scale, p.alpha)], {}, { name: `${name}_scales` });
    let y = b.op('Mul', [b.op('Cast', [sums], { to: DTYPES.float.code }, { name: `${name}_Cast` }), steps], {}, { name: `${name}_Mul` });
    if (p.bias) y = b.op('Add', [y, p.bias], {}, { name: `${name}_Add` });
    replaceNode(node, [y]);
    return true;
  }

  /** Codes as [k, n] and scales per column. A matrix that others read too is kept as it lies and transposed at load. */
  #matrix(b: Builder, p: ProductNode): [Value, Value] {
    const { value, tensor } = p.weight;
    if (!p.transposed) return this.#columns(value, tensor);
    if (value.readerCount > 1 || this.#constants.has(value, 'rows')) {
      const [codes, scale] = this.#rows(value);
      return [b.op('Transpose', [codes], { perm: [1, 0] }, { name: `${value.name}_Transpose` }), scale];
    }
    return this.#constants.get(value, 'columns of rows', () => {
      const q = quantizeTensor(tensor, this.#scheme({ kind: 'channel', axis: 0 }));
      const turned = transposeMatrices(new Int8Array(q.data.bytes().buffer, q.data.bytes().byteOffset, tensor.size), 1, p.n, p.k);
      return [
        ['quantized', Tensor.of(this.#options.weights.dtype, [p.k, p.n], turned)],
        ['scale', q.scale],
      ];
    }) as [Value, Value];
  }

  #scaled(scale: Value, alpha: number): Value {
    if (alpha === 1) return scale;
    return this.#constants.get(scale, `times ${alpha}`, () => {
      const tensor = scale.initializer!;
      return [
        [
          'scaled',
          Tensor.of(
            'float',
            tensor.dims,
            tensor.floats().map((s) => s * alpha),
          ),
        ],
      ];
    })[0]!;
  }

  // ---- convolutions ----

  /** ConvInteger with unsigned weights around 128: older runtimes refuse signed ones. */
  #conv(node: Node): true | string | undefined {
    const weight = node.input(1);
    const data = node.input(0);
    if (weight && this.#restored.has(weight)) return true;
    if (!weight?.isConstant || !weight.initializer || !data) return 'its weight is not a constant';
    if (this.#options.conv === 'float')
      return this.#stored(node, 'ConvInteger is slower than float convolution; static mode quantizes it, or ask with --conv integer');
    const problem = this.#weightProblem(weight.initializer);
    if (problem) return problem;
    const { dims } = weight.initializer;
    const [codes, scale, zero] = this.#constants.get(weight, 'convolution', () => {
      const q = quantizeTensor(weight.initializer!, { ...this.#scheme({ kind: 'channel', axis: 0 }), dtype: 'uint8' });
      // Scales broadcast over [channels, 1, 1].
      return [
        ['quantized', q.data],
        ['scale', q.scale.rank === 0 ? q.scale : q.scale.reshape([dims[0]!, ...dims.slice(2).map(() => 1)])],
        ['zero_point', Tensor.from('uint8', [], [128])],
      ];
    }) as [Value, Value, Value];
    const b = new Builder(node.graph, { before: node });
    const a = this.#quantizeActivation(b, data);
    const name = node.name || node.output().name;
    const sums = b.op('ConvInteger', [a.codes, codes, a.zero, zero], Object.fromEntries(node.attributes), { name: `${name}_ConvInteger` });
    const steps = b.op('Mul', [a.scale, scale], {}, { name: `${name}_scales` });
    let y = b.op('Mul', [b.op('Cast', [sums], { to: DTYPES.float.code }, { name: `${name}_Cast` }), steps], {}, { name: `${name}_Mul` });
    const bias = node.input(2);
    if (bias) {
      const shape = b.ints(`${name}_bias_shape`, [dims[0]!, ...dims.slice(2).map(() => 1)]);
      const column =
        bias.isConstant && bias.initializer
          ? b.constant(`${bias.name}_column`, bias.initializer.reshape([dims[0]!, ...dims.slice(2).map(() => 1)]))
          : b.op('Reshape', [bias, shape]);
      y = b.op('Add', [y, column], {}, { name: `${name}_Add` });
    }
    replaceNode(node, [y]);
    return true;
  }

  // ---- weights alone ----

  /** Stores the weights in 8 bits that fold to float at load; a reason where that is switched off or not possible. */
  #stored(node: Node, reason: string): true | string {
    if (!this.#options.others) return reason;
    // A weight that another reader stored already is a constant no more.
    let done = node.inputs.some((v) => v && this.#restored.has(v));
    let problem: string | undefined;
    for (const [weight, granularity] of storableWeights(node)) {
      const own = this.#weightProblem(weight.initializer!);
      if (own === undefined) {
        this.#restored.add(storeWeight(weight, this.#options.perChannel ? granularity : { kind: 'tensor' }));
        done = true;
      } else problem ??= own;
    }
    return done || (problem ?? reason);
  }

  // ---- recurrent and attention (contrib) ----

  #lstm(node: Node): true | string | undefined {
    if (node.int('layout', 0) !== 0) return this.#stored(node, 'DynamicQuantizeLSTM has no batch-first layout');
    const w = node.input(1);
    const r = node.input(2);
    if (!w?.isConstant || !r?.isConstant || !w.initializer || !r.initializer) return 'its weights are not constants';
    const problem = this.#weightProblem(w.initializer) ?? this.#weightProblem(r.initializer);
    if (problem) return problem;
    const [wq, ws, wz] = this.#gates(w);
    const [rq, rs, rz] = this.#gates(r);
    const inputs = Array.from({ length: 8 }, (_, i) => node.input(i));
    inputs[1] = wq;
    inputs[2] = rq;
    const twin = node.graph.addNode(
      {
        opType: 'DynamicQuantizeLSTM',
        domain: CONTRIB,
        name: node.name,
        inputs: [...inputs, ws, wz, rs, rz],
        outputs: node.outputs.map((o) => o && `${o.name}_q`),
        attributes: new Map([...node.attributes].filter(([key]) => key !== 'layout')),
      },
      node,
    );
    replaceNode(node, twin.outputs);
    this.usesContrib = true;
    return true;
  }

  /** Gate weights [directions, 4 hidden, k] as codes [directions, k, 4 hidden], a scale and a zero point per gate row. */
  #gates(value: Value): [Value, Value, Value] {
    return this.#constants.get(value, 'gates', () => {
      const tensor = value.initializer!;
      const [directions, rows, k] = tensor.dims as [number, number, number];
      const q = quantizeTensor(tensor.reshape([directions * rows, k]), {
        ...this.#options.weights,
        granularity: { kind: 'channel', axis: 0 },
      });
      const bytes = q.data.bytes();
      const turned = transposeMatrices(new Int8Array(bytes.buffer, bytes.byteOffset, tensor.size), directions, rows, k);
      return [
        ['quantized', Tensor.of(this.#options.weights.dtype, [directions, k, rows], turned)],
        ['scale', q.scale.reshape([directions, rows])],
        ['zero_point', this.#zeros([directions, rows])],
      ];
    }) as [Value, Value, Value];
  }

  #attention(node: Node): true | string | undefined {
    if (node.hasAttribute('qkv_hidden_sizes')) return 'QAttention has no head sizes of its own for values';
    if (node.input(5) || node.input(6)) return 'QAttention takes no attention bias';
    const weight = node.input(1);
    const data = node.input(0);
    if (!data || !node.input(2) || !weight?.isConstant || !weight.initializer) return 'its weight is not a constant or it has no bias';
    const problem = this.#weightProblem(weight.initializer);
    if (problem) return problem;
    const [codes, scale, zero] = this.#constants.get(weight, 'attention', () => {
      const q = quantizeTensor(weight.initializer!, this.#scheme({ kind: 'channel', axis: 1 }));
      return [
        ['quantized', q.data],
        ['scale', q.scale],
        ['zero_point', this.#zeros(q.scale.dims)],
      ];
    }) as [Value, Value, Value];
    const b = new Builder(node.graph, { before: node });
    const a = this.#quantizeActivation(b, data);
    const twin = node.graph.addNode(
      {
        opType: 'QAttention',
        domain: CONTRIB,
        name: node.name,
        inputs: [a.codes, codes, node.input(2), a.scale, scale, node.input(3), a.zero, zero, node.input(4)],
        outputs: node.outputs.map((o) => o && `${o.name}_q`),
        attributes: node.attributes,
      },
      node,
    );
    replaceNode(node, twin.outputs);
    this.usesContrib = true;
    return true;
  }

  // ---- embeddings ----

  #lookup(node: Node): true | string | undefined {
    const table = lookupOf(node);
    if (typeof table !== 'object') return table;
    const problem = this.#weightProblem(table.initializer!);
    if (problem) return problem;
    const [codes, scale] = this.#rows(table);
    writeRowLookup(node, codes, scale, this.#middle);
    return true;
  }
}
