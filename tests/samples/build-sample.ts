// From a sample to a model and its feeds. The content is random but always the same for the same sample.
import type { AttributeInput } from '../../src/ir/attribute.js';
import { Builder, DEFAULT_OPSET } from '../../src/ir/builder.js';
import { DTYPES } from '../../src/ir/dtype.js';
import { Graph, type Node, type Value } from '../../src/ir/graph.js';
import { Model } from '../../src/ir/model.js';
import { elementCount, Tensor } from '../../src/ir/tensor.js';
import type { Shape } from '../../src/ir/type.js';
import { Rng } from '../../src/util/rng.js';
import { sampleName } from './all.js';
import type { OpSample, SampleInput } from './op-sample.js';

export interface BuiltSample {
  readonly model: Model;
  /** The node of the operator under test (the last of its kind where the sample builds a whole graph). */
  readonly node: Node;
  readonly feeds: Record<string, Tensor>;
}

export interface BuildOptions {
  /** Shape under which graph input `name` is declared; its real dimensions where omitted. */
  readonly shapeOf?: (name: string, dims: readonly number[]) => Shape;
  /** Gives every input as an initializer. */
  readonly allConstant?: boolean;
}

export function buildSample(sample: OpSample, options: BuildOptions = {}): BuiltSample {
  const rng = new Rng(1).fork(sampleName(sample));
  const graph = new Graph('sample');
  const b = new Builder(graph);
  const feeds: Record<string, Tensor> = {};
  let node: Node | undefined;
  if (sample.build) {
    sample.build(b);
    node = graph.nodes.findLast((n) => n.opType === sample.op && n.domain === (sample.domain ?? ''));
    for (const [name, input] of Object.entries(sample.feeds ?? {})) {
      feeds[name] = sampleTensor(input, rng);
      const value = graph.value(name);
      if (value && options.shapeOf) value.type = { kind: 'tensor', dtype: input.dtype, shape: options.shapeOf(name, input.dims) };
    }
  } else {
    const inputs = sample.inputs.map((input, i): Value | null => {
      if (input === null) return null;
      const tensor = sampleTensor(input, rng);
      if (input.constant || options.allConstant) return b.constant(`c${i}`, tensor);
      const name = `x${i}`;
      feeds[name] = tensor;
      return b.input(name, input.dtype, options.shapeOf ? options.shapeOf(name, input.dims) : input.dims);
    });
    node = addNode(graph, sample, inputs);
    for (const output of node.outputs) if (output) graph.addOutput(output);
  }
  if (!node) throw new Error(`sample ${sampleName(sample)} builds no ${sample.op}`);
  const domain = sample.domain ?? '';
  const opsets = { '': sample.opset ?? DEFAULT_OPSET, ...(domain === '' ? {} : { [domain]: 1 }), ...sample.opsets };
  return { model: new Model(graph, new Map(Object.entries(opsets)), 10), node, feeds };
}

function addNode(graph: Graph, sample: OpSample, inputs: readonly (Value | null)[]): Node {
  const wanted = sample.outputs ?? 1;
  const outputs = typeof wanted === 'number' ? Array.from({ length: wanted }, (_, i) => `y${i}`) : wanted;
  const attributes: Record<string, AttributeInput> = { ...sample.attributes };
  for (const [name, body] of Object.entries(sample.subgraphs ?? {})) {
    const inner = new Graph(name, graph);
    body(new Builder(inner), (i) => inputs[i]!);
    attributes[name] = { type: 'graph', value: inner };
  }
  return graph.addNode({ opType: sample.op, domain: sample.domain ?? '', name: 'tested', inputs, outputs, attributes });
}

/** Content of a sample input as a tensor. */
export function sampleTensor(input: SampleInput, rng: Rng): Tensor {
  const count = elementCount(input.dims);
  if (input.dtype === 'string') {
    const strings = input.strings ?? Array.from({ length: count }, (_, i) => String.fromCharCode(97 + (i % 26)));
    return Tensor.strings(input.dims, strings);
  }
  if (input.values) {
    if (input.values.length !== count) throw new Error(`sample input [${input.dims.join(',')}] has ${input.values.length} values`);
    return Tensor.from(input.dtype, input.dims, input.values);
  }
  const { kind, bits } = DTYPES[input.dtype];
  const draw = () => {
    if (kind === 'float') return rng.uniform() * 2 - 1;
    if (kind === 'bool') return rng.integer(2);
    const span = Math.min(8, 2 ** bits - 1);
    return kind === 'uint' ? rng.integer(span + 1) : rng.integer(span + 1) - (span + 1) / 2;
  };
  return Tensor.from(input.dtype, input.dims, Array.from({ length: count }, draw));
}
