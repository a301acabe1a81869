// Fused convolutions of ONNX Runtime's own domain (as its offline optimizer writes them) have no 8-bit kernels: they are taken apart again, so that
// the convolution can be quantized and its activation absorbed. FusedConv = activation(Conv(X, W, B) + Z).
import type { AttributeInput } from '../../ir/attribute.js';
import { Builder } from '../../ir/builder.js';
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { walkNodes } from '../../ir/walk.js';

const PLAIN = new Set(['Relu', 'Tanh', 'Sigmoid']);

/** Takes every FusedConv apart whose activation is a standard operator. Answers how many. */
export function unfuseConvolutions(model: Model): number {
  let count = 0;
  for (const node of [...walkNodes(model.graph)]) {
    if (node.opType === 'FusedConv' && node.domain === 'com.microsoft' && unfuse(node)) count++;
  }
  if (count > 0 && ![...walkNodes(model.graph)].some((n) => n.domain === 'com.microsoft')) model.opsets.delete('com.microsoft');
  return count;
}

function unfuse(node: Node): boolean {
  const activation = activationOf(node);
  if (activation === null) return false;
  const b = new Builder(node.graph, { before: node });
  const own = new Set(['activation', 'activation_params']);
  const attributes = Object.fromEntries([...node.attributes].filter(([name]) => !own.has(name))) as Record<string, AttributeInput>;
  const base = node.output().name;
  let value = b.op('Conv', [node.input(0), node.input(1), node.input(2)], attributes, { name: node.name, outputs: [`${base}_conv`] });
  const sum = node.input(3);
  if (sum) value = b.op('Add', [value, sum], {}, { name: `${node.name}_sum`, outputs: [`${base}_sum`] });
  value = activation(b, value, base);
  value.type = node.output().type;
  node.graph.replaceValue(node.output(), value);
  node.graph.removeNode(node);
  return true;
}

/** Builds the activation; null where it is no standard operator. */
function activationOf(node: Node): ((b: Builder, x: Value, base: string) => Value) | null {
  const kind = node.string('activation', '');
  const [first = 0, second = 0] = node.floats('activation_params') ?? [];
  const call = (op: string, attributes: Record<string, AttributeInput>) => (b: Builder, x: Value, base: string) =>
    b.op(op, [x], attributes, { name: `${node.name}_${op}`, outputs: [`${base}_${op}`] });
  const float = (value: number): AttributeInput => ({ type: 'float', value });
  if (kind === '') return (_, x) => x;
  if (PLAIN.has(kind)) return call(kind, {});
  if (kind === 'LeakyRelu') return call(kind, { alpha: float(first) });
  if (kind === 'HardSigmoid') return call(kind, { alpha: float(first), beta: float(second) });
  if (kind === 'Clip') {
    return (b, x, base) =>
      b.op(
        'Clip',
        [x, b.scalar(`${base}_min`, 'float', first), b.scalar(`${base}_max`, 'float', second)],
        {},
        { name: `${node.name}_Clip`, outputs: [`${base}_Clip`] },
      );
  }
  return null;
}
