// Writes an annotation into the graph: every activation gets one QuantizeLinear and one DequantizeLinear, every weight and bias becomes integers
// behind DequantizeLinear, absorbed clamps vanish. Done once, from decisions made before; nothing is decided here.
// Values added here have short names (q, d, s, z and a number), weights keep theirs with an ending: in small models names are a tenth of the file.
import { bugError } from '../errors.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import { Tensor } from '../ir/tensor.js';
import type { AffineParameters } from './affine.js';
import type { Annotation } from './annotate.js';
import { layoutOf } from './layout.js';
import { PER_TENSOR, type Scheme } from './scheme.js';
import { codesTensor, quantizeWith } from './tensor.js';
import {
  channelSpread,
  channelsOf,
  firstReader,
  type GivenWeight,
  givenWeight,
  planWeights,
  quantizeBias,
  quantizeWeight,
  type WeightPlan,
} from './weights.js';

export interface InsertOptions {
  readonly weights: Omit<Scheme, 'granularity'>;
  readonly perChannel: boolean;
  /** Cut weights' ranges to those of least squared error. */
  readonly clipWeights?: boolean | undefined;
  /** Weights whose codes are decided already. */
  readonly given?: ReadonlyMap<Value, GivenWeight> | undefined;
}

export interface InsertedWeight {
  readonly name: string;
  readonly dtype: string;
  readonly granularity: string;
  /** Largest over median channel magnitude where one scale serves the tensor although channels could have their own; else 1. */
  readonly spread: number;
  readonly conflict: boolean;
}

export interface Inserted {
  readonly activations: number;
  readonly weights: readonly InsertedWeight[];
  readonly biases: number;
}

export function insertQdq(annotation: Annotation, parameters: ReadonlyMap<Value, AffineParameters>, options: InsertOptions): Inserted {
  return new Inserter(annotation, new Map(parameters), options).run();
}

class Inserter {
  readonly #annotation: Annotation;
  readonly #graph: Graph;
  readonly #parameters: Map<Value, AffineParameters>;
  readonly #options: InsertOptions;
  readonly #constants = new Map<string, Value>();

  constructor(annotation: Annotation, parameters: Map<Value, AffineParameters>, options: InsertOptions) {
    this.#annotation = annotation;
    this.#graph = annotation.graph;
    this.#parameters = parameters;
    this.#options = options;
  }

  run(): Inserted {
    const renamed = this.#removeClamps();
    // Scales of data are asked for by input value, before Q/DQ come between.
    const dataScales = new Map<Node, number>();
    for (const c of this.#annotation.compute) {
      const data = c.node.input(c.data)!;
      if (c.integer) dataScales.set(c.node, this.#parametersOf(data).scale[0]!);
    }
    for (const value of this.#annotation.activations) this.#quantizeActivation(renamed.get(value) ?? value);
    for (const value of this.#annotation.constants) this.#quantizeConstant(value);
    const weights: InsertedWeight[] = [];
    let biases = 0;
    for (const plan of planWeights(this.#annotation.compute, this.#options.perChannel)) {
      const { report, biasCount } = this.#quantizeWeight(plan, dataScales);
      weights.push(report);
      biases += biasCount;
    }
    this.#graph.pruneValues();
    return { activations: this.#annotation.activations.length, weights, biases };
  }

  #parametersOf(value: Value): AffineParameters {
    const p = this.#parameters.get(value);
    if (!p) throw bugError(`value ${value.name} has no quantization parameters`);
    return p;
  }

  /** Removes absorbed clamps; answers which value stands for each clamp's output now. */
  #removeClamps(): Map<Value, Value> {
    const stands = new Map<Value, Value>();
    // From the last to the first, so that a chain of clamps collapses onto the value before it.
    for (const clamp of [...this.#annotation.absorbed].reverse()) {
      const before = clamp.input(0)!;
      const after = clamp.output();
      const p = this.#parameters.get(after);
      if (p) this.#parameters.set(before, p);
      this.#graph.replaceValue(after, before);
      this.#graph.removeNode(clamp);
      for (const [from, to] of stands) if (to === after) stands.set(from, before);
      stands.set(after, before);
    }
    return stands;
  }

  /** One initializer for equal constants. */
  #shared(home: Graph, name: string, tensor: Tensor): Value {
    const key = `${tensor.dtype}:${tensor.dims.join()}:${Array.from(tensor.numbers(), String).join()}`;
    const known = this.#constants.get(key);
    if (known && known.graph === home) return known;
    const value = home.addInitializer(name, tensor);
    this.#constants.set(key, value);
    return value;
  }

  #scaleInputs(p: AffineParameters): [Value, Value] {
    return [
      this.#shared(this.#graph, 's', Tensor.of('float', [], p.scale.slice(0, 1))),
      this.#shared(this.#graph, 'z', codesTensor(p.dtype, [], [p.zeroPoint[0]!])),
    ];
  }

  #quantizeActivation(value: Value): void {
    const p = this.#parametersOf(value);
    const producer = value.producer;
    const uses = [...value.uses];
    const before = producer ? producer._next : (this.#graph.nodes[0] ?? null);
    const [scale, zero] = this.#scaleInputs(p);
    const type = value.type;
    const q = this.#graph.addNode(
      {
        opType: 'QuantizeLinear',
        inputs: [value, scale, zero],
        outputs: ['q'],
      },
      before,
    );
    const dq = this.#graph.addNode(
      {
        opType: 'DequantizeLinear',
        inputs: [q.output(), scale, zero],
        outputs: ['d'],
      },
      before,
    );
    if (type?.kind === 'tensor') {
      q.output().type = { ...type, dtype: p.dtype };
      dq.output().type = type;
    }
    // Behind an integer kernel nobody may read the float value, or the runtime computes it in float after all.
    if (producer && this.#annotation.integerNodes.has(producer)) {
      this.#graph.replaceValue(value, dq.output());
      q.setInput(0, value);
    } else {
      for (const { node, index } of uses) if (this.#annotation.integerNodes.has(node)) node.setInput(index, dq.output());
    }
  }

  #quantizeConstant(value: Value): void {
    const p = this.#parametersOf(value);
    const tensor = value.initializer!;
    const { data } = quantizeWith(tensor.floats(), tensor.dims, layoutOf(tensor.dims, PER_TENSOR), p);
    const codes = this.#graph.addInitializer(`${value.name}_q`, data);
    const uses = value.uses.filter(({ node }) => this.#annotation.integerNodes.has(node));
    const [scale, zero] = this.#scaleInputs(p);
    const dq = this.#graph.addNode(
      {
        opType: 'DequantizeLinear',
        inputs: [codes, scale, zero],
        outputs: ['d'],
      },
      uses[0]?.node.graph === this.#graph ? firstReader(this.#graph, value) : (this.#graph.nodes[0] ?? null),
    );
    for (const { node, index } of uses) node.setInput(index, dq.output());
  }

  #quantizeWeight(plan: WeightPlan, dataScales: ReadonlyMap<Node, number>): { report: InsertedWeight; biasCount: number } {
    const { value, readers } = plan;
    const name = value.name;
    const given = this.#options.given?.get(value);
    const w = given
      ? givenWeight(plan, given)
      : quantizeWeight(plan, this.#options.weights, (c) => dataScales.get(c.node)!, this.#options.clipWeights);
    const axis = readers[0]!.weight!.channelAxis;
    const report: InsertedWeight = {
      name,
      dtype: w.parameters.dtype,
      granularity: plan.granularity.kind,
      spread: plan.granularity.kind === 'tensor' && axis !== null ? channelSpread(value.initializer!, axis) : 1,
      conflict: plan.conflict,
    };
    const explicitZero = readers.some((c) => c.kernel.explicitZeroPoint) || w.parameters.zeroPoint.some((z) => z !== 0);
    const home = value.graph;
    const codes = home.addInitializer(`${name}_q`, w.data);
    const scale = home.addInitializer(`${name}_s`, w.scale);
    const zero = explicitZero ? this.#shared(home, 'z', w.zeroPoint) : null;
    const dq = home.addNode(
      {
        opType: 'DequantizeLinear',
        inputs: [codes, scale, zero],
        outputs: ['d'],
        attributes: w.axis === undefined ? {} : { axis: w.axis },
      },
      firstReader(home, value),
    );
    const restored = dq.output();
    if (value.type?.kind === 'tensor') restored.type = value.type;
    // Every reader, also those in float, takes the quantized weight: else the file would hold it twice.
    for (const { node, index } of [...value.uses]) node.setInput(index, restored);
    let biasCount = 0;
    for (const c of readers) {
      if (!c.bias || !c.integer) continue;
      this.#quantizeBias(
        c.node,
        c.bias,
        quantizeBias(c.bias.value.initializer!, channelsOf(c), dataScales.get(c.node)!, w.parameters.scale),
      );
      biasCount++;
    }
    return { report, biasCount };
  }

  #quantizeBias(node: Node, bias: { index: number; value: Value }, q: { data: Tensor; scale: Tensor }): void {
    const { graph } = node;
    const codes = graph.addInitializer('b', q.data);
    const scale = graph.addInitializer('s', q.scale);
    const dq = graph.addNode(
      {
        opType: 'DequantizeLinear',
        inputs: [codes, scale],
        outputs: ['d'],
        attributes: q.scale.rank === 1 ? { axis: 0 } : {},
      },
      node,
    );
    node.setInput(bias.index, dq.output());
  }
}
