// LSTM and GRU layers by ONNX's operators (Hochreiter and Schmidhuber 1997; Cho et al. 2014). Input weights Xavier, recurrent ones orthogonal gate by gate,
// biases 0 but for the forget gate's 1 (Jozefowicz et al. 2015).
import type { AttributeInput } from '../ir/attribute.js';
import type { Value } from '../ir/graph.js';
import { type Initializer, orthogonal, xavier, zeros } from './init.js';
import type { Scope } from './scope.js';

export interface RecurrentOptions {
  readonly hidden: number;
  /** Reads both ways; the result is then twice as wide. */
  readonly bidirectional?: boolean | undefined;
  /** `sequence` (default): [batch, sequence, hidden]; `last`: the state after the last step, [batch, hidden]. */
  readonly output?: 'sequence' | 'last' | undefined;
}

/** Gates in ONNX's order: input, output, forget, cell; update, reset, hidden. */
const GATES = { LSTM: 4, GRU: 3 } as const;
const FORGET = 2;

/** [batch, sequence, features]. Parameters `input_weight`, `recurrent_weight` and `bias`, laid out as ONNX's W, R and B. */
export function lstm(scope: Scope, x: Value, options: RecurrentOptions): Value {
  return recurrent(scope, 'LSTM', x, options, {});
}

/** As `lstm`, with the reset gate applied after the recurrent product, as cuDNN, PyTorch and Keras do. */
export function gru(scope: Scope, x: Value, options: RecurrentOptions): Value {
  return recurrent(scope, 'GRU', x, options, { linear_before_reset: 1 });
}

function recurrent(
  scope: Scope,
  opType: keyof typeof GATES,
  x: Value,
  { hidden, bidirectional = false, output = 'sequence' }: RecurrentOptions,
  attributes: Record<string, AttributeInput>,
): Value {
  scope.requireRank(x, [3], '[batch, sequence, features]');
  const features = scope.size(x, 2, 'number of features');
  const gates = GATES[opType];
  const directions = bidirectional ? 2 : 1;
  const inputs = [
    // The CPU kernels take the sequence first.
    scope.op('Transpose', [x], { perm: [1, 0, 2] }),
    scope.parameter('input_weight', [directions, gates * hidden, features], { init: xavier(), fans: { fanIn: features, fanOut: hidden } }),
    scope.parameter('recurrent_weight', [directions, gates * hidden, hidden], { init: orthogonalGates(gates) }),
    scope.parameter('bias', [directions, 2 * gates * hidden], { init: opType === 'LSTM' ? forgetBias(hidden) : zeros }),
  ];
  const node = scope.node(
    opType,
    inputs,
    { hidden_size: hidden, direction: bidirectional ? 'bidirectional' : 'forward', ...attributes },
    { name: '', outputs: 2 },
  );
  node.dropOutput(output === 'last' ? 0 : 1);
  if (output === 'last') {
    // [directions, batch, hidden]: the backward state is the one after its own last step, which is the first token.
    const state = scope.op('Transpose', [node.output(1)], { perm: [1, 0, 2] });
    return scope.op('Reshape', [state, scope.ints([0, directions * hidden])]);
  }
  const batchFirst = scope.op('Transpose', [node.output(0)], { perm: [2, 0, 1, 3] });
  return scope.op('Reshape', [batchFirst, scope.ints([0, 0, directions * hidden])]);
}

/** Every gate's [hidden, hidden] matrix orthogonal. */
function orthogonalGates(gates: number): Initializer {
  return ([directions = 1, rows = 1, hidden = 1], fans, rng) => orthogonal()([directions * gates, rows / gates, hidden], fans, rng);
}

function forgetBias(hidden: number): Initializer {
  return ([directions = 1, length = 0]) => {
    const values = new Float32Array(directions * length);
    for (let d = 0; d < directions; d++) values.fill(1, d * length + FORGET * hidden, d * length + (FORGET + 1) * hidden);
    return values;
  };
}
