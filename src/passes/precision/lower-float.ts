// Lowers a float graph to a 16-bit float type: nodes compute in it unless they are kept, constants are converted once, and Cast nodes stand where
// the two kinds meet. Values that cross into or out of subgraphs as inputs and outputs of bodies stay float, so that bodies keep their signatures.
import { DTYPES } from '../../ir/dtype.js';
import type { Graph, Node, Value } from '../../ir/graph.js';
import { type Model, tensorTypeOf } from '../../ir/model.js';
import { walkGraphs } from '../../ir/walk.js';
import { halfTensor } from '../../quant/half-simd.js';
import type { HalfType } from './half-types.js';

export interface LowerOptions {
  readonly type: HalfType;
  /** Nodes that stay float. */
  readonly keep: ReadonlySet<Node>;
  /** Lower the types of the model's inputs and outputs too. */
  readonly io: boolean;
}

export interface Lowered {
  readonly nodes: number;
  readonly constants: number;
  readonly casts: number;
}

/** Edits the model in place; types of values must have been inferred. */
export function lowerFloat(model: Model, options: LowerOptions): Lowered {
  return new Lowering(options).run(model);
}

class Lowering {
  readonly #type: HalfType;
  readonly #keep: ReadonlySet<Node>;
  readonly #io: boolean;
  /** Values that are 16-bit now. */
  readonly #lowered = new Set<Value>();
  readonly #halves = new Map<Value, Value>();
  readonly #floats = new Map<Value, Value>();
  #nodes = 0;
  #constants = 0;
  #casts = 0;

  constructor(options: LowerOptions) {
    this.#type = options.type;
    this.#keep = options.keep;
    this.#io = options.io;
  }

  run(model: Model): Lowered {
    if (this.#io) for (const input of model.graph.inputs) if (isFloat(input) && !input.initializer) this.#markLowered(input);
    // A subgraph is lowered where its node stands, so that what it captures has its final type.
    this.#lowerGraph(model.graph);
    for (const graph of walkGraphs(model.graph)) graph.pruneValues();
    return { nodes: this.#nodes, constants: this.#constants, casts: this.#casts };
  }

  #lowerGraph(graph: Graph): void {
    for (const node of graph.nodes) {
      this.#lowerNode(node);
      for (const sub of node.subgraphs()) this.#lowerGraph(sub);
    }
    const isMain = graph.parent === null;
    graph.outputs.forEach((value, i) => {
      if (this.#lowered.has(value) && !(isMain && this.#io)) this.#restoreOutput(graph, value, i);
    });
  }

  #lowerNode(node: Node): void {
    const lower = !this.#keep.has(node);
    const floatInputs = node.domain === '' ? (this.#type.floatInputs[node.opType] ?? []) : [];
    node.inputs.forEach((value, i) => {
      if (!value) return;
      if (lower && !floatInputs.includes(i) && node.opType !== 'Cast') {
        if (isFloat(value) && !this.#lowered.has(value)) node.setInput(i, this.#toHalf(value));
      } else if (!lower || floatInputs.includes(i)) {
        if (this.#lowered.has(value)) node.setInput(i, this.#toFloat(value));
      }
    });
    if (!lower) return;
    let touched = false;
    for (const output of node.outputs) {
      if (!output || !isFloat(output)) continue;
      this.#markLowered(output);
      touched = true;
    }
    if (node.opType === 'Cast' && node.domain === '' && node.int('to') === DTYPES.float.code) {
      node.setAttribute('to', DTYPES[this.#type.dtype].code);
    }
    if (touched) this.#nodes++;
  }

  #markLowered(value: Value): void {
    this.#lowered.add(value);
    if (value.type?.kind === 'tensor') value.type = { ...value.type, dtype: this.#type.dtype };
  }

  /** The value in 16 bits: a converted constant, or a Cast behind its producer. */
  #toHalf(value: Value): Value {
    let half = this.#halves.get(value);
    if (half) return half;
    const tensor = value.isConstant ? value.initializer : null;
    if (tensor) {
      const { dtype } = this.#type;
      half = value.graph.addInitializer(`${value.name}_${dtype}`, halfTensor(tensor, dtype));
      this.#constants++;
    } else half = this.#cast(value, this.#type.dtype);
    this.#lowered.add(half);
    this.#halves.set(value, half);
    return half;
  }

  #toFloat(value: Value): Value {
    let float = this.#floats.get(value);
    if (!float) {
      float = this.#cast(value, 'float');
      this.#floats.set(value, float);
    }
    return float;
  }

  #cast(value: Value, to: 'float' | 'float16' | 'bfloat16', output?: Value): Value {
    const { graph, producer } = value;
    this.#casts++;
    const node = graph.addNode(
      {
        opType: 'Cast',
        name: `${value.name}_to_${to}`,
        inputs: [value],
        outputs: [output ?? `${value.name}_${to}`],
        attributes: { to: DTYPES[to].code },
      },
      producer ? producer._next : (graph.nodes[0] ?? null),
    );
    const result = node.output();
    if (value.type?.kind === 'tensor') result.type = { ...value.type, dtype: to };
    return result;
  }

  /** Gives a graph output its float type and its name back. */
  #restoreOutput(graph: Graph, value: Value, index: number): void {
    if (value.graph !== graph) {
      graph.setOutput(index, this.#toFloat(value));
      return;
    }
    const { name } = value;
    const known = this.#floats.get(value);
    graph.rename(value, graph.freshName(`${name}_${this.#type.dtype}`));
    if (known) {
      graph.rename(known, name);
      graph.setOutput(index, known);
      return;
    }
    const output = graph.addValue(name);
    this.#floats.set(value, this.#cast(value, 'float', output));
    graph.setOutput(index, output);
  }
}

function isFloat(value: Value): boolean {
  return tensorTypeOf(value)?.dtype === 'float';
}
