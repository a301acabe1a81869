// The recipe of common converters, for comparison: one scale from the least to the largest value seen for every float input and result of these
// operators, one scale a tensor for every constant, no repair. Decomposed norms and activations are rounded in the middle.
import { inferShapes, openSession, Tensor } from '../../dist/index.js';

/** Operators that onnxruntime.quantization takes by default (quantize_static, QDQ), as far as float data goes through them. */
const OPERATORS = new Set(
  'Add,AveragePool,Clip,Concat,Conv,ConvTranspose,Gemm,GlobalAveragePool,LeakyRelu,MatMul,MaxPool,Mul,Relu,Reshape,Resize,Sigmoid,Softmax,Split,Squeeze,Transpose,Unsqueeze,Where'.split(
    ',',
  ),
);

/** Quantizes the model in place on the samples of `data`. Answers the number of values that got a scale. */
export async function quantizeEverything(model, engine, data, limit = 100) {
  inferShapes(model);
  const { graph } = model;
  const isFloat = (v) => v?.type?.kind === 'tensor' && v.type.dtype === 'float';
  const wanted = new Set();
  for (const node of graph.nodes) {
    if (!OPERATORS.has(node.opType)) continue;
    for (const v of [...node.inputs, ...node.outputs]) if (v && (isFloat(v) || v.initializer?.dtype === 'float')) wanted.add(v);
  }
  const ranges = await rangesOf(
    model,
    engine,
    data,
    [...wanted].filter((v) => !v.isConstant),
    limit,
  );
  for (const value of wanted) {
    const [min, max] = value.initializer ? extremes(value.initializer.floats()) : ranges.get(value.name);
    insertPair(graph, value, Math.min(0, min), Math.max(0, max), value.initializer !== null && value.initializer !== undefined);
  }
  return wanted.size;
}

function insertPair(graph, value, min, max, symmetric) {
  const peak = Math.max(-min, max);
  const scale = (symmetric ? (2 * peak) / 254 : (max - min) / 255) || 1;
  const zero = symmetric ? 0 : Math.max(0, Math.min(255, Math.round(-min / scale)));
  const dtype = symmetric ? 'int8' : 'uint8';
  const users = value.uses.filter(({ node }) => OPERATORS.has(node.opType));
  // Rounded right behind their producer, so that readers of any operator see the rounded value, as with a pair on every result.
  const readers = value.producer && OPERATORS.has(value.producer.opType) ? [...value.uses] : users;
  const s = graph.addInitializer(graph.freshName(`${value.name}_scale`), Tensor.of('float', [], Float32Array.of(scale)));
  const z = graph.addInitializer(graph.freshName(`${value.name}_zero`), Tensor.from(dtype, [], [zero]));
  const first = graph.nodes.find((n) => readers.some((r) => r.node === n)) ?? null;
  const q = graph.addNode({ opType: 'QuantizeLinear', inputs: [value, s, z], outputs: [graph.freshName(`${value.name}_q`)] }, first);
  const d = graph.addNode({ opType: 'DequantizeLinear', inputs: [q.output(), s, z], outputs: [graph.freshName(`${value.name}_d`)] }, first);
  for (const { node, index } of readers) node.setInput(index, d.output());
}

async function rangesOf(model, engine, data, values, limit) {
  const inner = values.filter((v) => v.producer).map((v) => v.name);
  const session = await openSession(engine, model, { outputs: inner });
  const ranges = new Map(values.map((v) => [v.name, [Infinity, -Infinity]]));
  try {
    for await (const batch of data.batches({ batchSize: 1, limit })) {
      const found = { ...batch.inputs, ...(await session.run(batch.inputs)) };
      for (const [name, range] of ranges) {
        const [min, max] = extremes(found[name].floats());
        range[0] = Math.min(range[0], min);
        range[1] = Math.max(range[1], max);
      }
    }
  } finally {
    await session.release();
  }
  return ranges;
}

function extremes(data) {
  let min = Infinity;
  let max = -Infinity;
  for (const v of data) {
    if (v < min) min = v;
    if (v > max) max = v;
  }
  return [min, max];
}
