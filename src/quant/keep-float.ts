// Keeps excluded layers float in ONNX Runtime. Its optimizer (WeightBiasQuantization) rounds the float weight of a Conv, ConvTranspose or Gemm to
// int8 with one scale for the tensor wherever the data comes from DequantizeLinear and the result goes into QuantizeLinear, with nothing but Relu
// and Clip between: a layer left out because it is sensitive would be quantized after all, and worse. A LeakyRelu of slope 1, the identity, in front
// of the QuantizeLinear stops it.
import type { Graph, Node, Value } from '../ir/graph.js';

const ROUNDED = new Set(['Conv', 'ConvTranspose', 'Gemm']);
const LOOKED_THROUGH = new Set(['Relu', 'Clip']);

/** Guards every such layer of a graph. Answers how many there were. */
export function guardFloatLayers(graph: Graph): number {
  let guards = 0;
  for (const node of graph.nodes) {
    if (node.domain !== '' || !ROUNDED.has(node.opType) || !node.input(1)?.isConstant) continue;
    if (node.input(0)?.producer?.opType !== 'DequantizeLinear') continue;
    const q = quantizerAfter(node);
    if (!q) continue;
    const before = q.input(0)!;
    const guard = graph.addNode(
      {
        opType: 'LeakyRelu',
        name: `${node.name || node.output().name}_stays_float`,
        inputs: [before],
        outputs: [`${before.name}_float`],
        attributes: { alpha: { type: 'float', value: 1 } },
      },
      q,
    );
    if (before.type) guard.output().type = before.type;
    q.setInput(0, guard.output());
    guards++;
  }
  return guards;
}

/** The QuantizeLinear that the node's result goes into and nothing else does. */
function quantizerAfter(node: Node): Node | null {
  let value: Value = node.output();
  for (;;) {
    if (value.uses.length !== 1) return null;
    const reader = value.uses[0]!.node;
    if (reader.opType === 'QuantizeLinear') return reader;
    if (!LOOKED_THROUGH.has(reader.opType) || value.uses[0]!.index !== 0) return null;
    value = reader.output();
  }
}
