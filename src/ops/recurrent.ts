// Recurrent layers: RNN, GRU, LSTM (Hochreiter and Schmidhuber 1997; Cho et al. 2014). X is [seq, batch, input], or [batch, seq, input] with layout 1;
// weights W [directions, gates*hidden, input], R [directions, gates*hidden, hidden], B [directions, 2*gates*hidden].
import { floorDivDims } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import type { Dim, Shape } from '../ir/type.js';
import { requireRank, tensorResult, unifyDims } from './infer-helpers.js';
import type { CostContext, InferContext, Inferred, OpRecord, Work } from './op.js';
import { recurrentGrads } from './recurrent-grad.js';

const GATES = { RNN: 1, GRU: 3, LSTM: 4 } as const;
type Recurrent = keyof typeof GATES;

function inferRecurrent(opType: Recurrent): (ctx: InferContext) => Inferred[] {
  const states = opType === 'LSTM' ? 2 : 1;
  return (ctx) => {
    for (const input of [0, 1, 2]) requireRank(ctx, input, 3);
    const dtype = ctx.dtype(0);
    const x = ctx.shape(0);
    const batchFirst = ctx.node.int('layout', 0) !== 0;
    const directions = ctx.node.string('direction', 'forward') === 'bidirectional' ? 2 : 1;
    const w = ctx.shape(1);
    if (x && w) unifyDims(ctx, 1, x[2]!, w[2]!, 'input size');
    if (w) unifyDims(ctx, 1, directions, w[0]!, 'directions');
    const hidden = hiddenSize(ctx, GATES[opType]);
    const seq: Dim = x ? x[batchFirst ? 1 : 0]! : null;
    const batch: Dim = x ? x[batchFirst ? 0 : 1]! : null;
    const y: Shape = batchFirst ? [batch, seq, directions, hidden] : [seq, directions, batch, hidden];
    const state: Shape = batchFirst ? [batch, directions, hidden] : [directions, batch, hidden];
    return [tensorResult(dtype, y), ...Array.from({ length: states }, () => tensorResult(dtype, state))];
  };
}

function hiddenSize(ctx: InferContext, gates: number): Dim {
  const r = ctx.shape(2)?.[2] ?? null;
  const declared = ctx.node.int('hidden_size');
  if (declared !== undefined) return unifyDims(ctx, 2, declared, r, 'hidden size');
  return r ?? floorDivDims(ctx.shape(1)?.[1] ?? null, gates);
}

/** Sequences of one batch are independent; hidden units feed each other and time runs on, so neither can be sliced. Input features are contracted. */
function recurrentAxes(opType: Recurrent): (node: Node) => string {
  return (node) => {
    const batchFirst = node.int('layout', 0) !== 0;
    const state = batchFirst ? 'b..' : '.b.';
    const inputs = [batchFirst ? 'b.i' : '.bi', '..i', '...', '..', 'b', state, ...(opType === 'LSTM' ? [state, '..'] : [])];
    const given = inputs.slice(0, node.inputs.length).map((term, i) => (node.input(i) ? term : '_'));
    const outputs = [batchFirst ? 'b...' : '..b.', state, ...(opType === 'LSTM' ? [state] : [])];
    return `${given.join(',')}->${outputs.slice(0, node.outputs.length).join(',')}`;
  };
}

function recurrentCost({ inputs: [x, w, r] }: CostContext): Work {
  if (!x || !w || !r) return { macs: 0, ops: 0 };
  const steps = x[0]! * x[1]!;
  const rows = w[0]! * w[1]!;
  // Activations and gate products: about two operations for each gate row.
  return { macs: steps * rows * (w[2]! + r[2]!), ops: steps * rows * 2 };
}

function record(opType: Recurrent): OpRecord {
  return {
    opType,
    domain: '',
    since: 7,
    infer: inferRecurrent(opType),
    grad: recurrentGrads[opType],
    axes: recurrentAxes(opType),
    quant: { kind: 'compute', data: [0], weight: 1, bias: null, channelAxis: () => 1 },
    cost: recurrentCost,
  };
}

export const RECURRENT_OPS: readonly OpRecord[] = [record('RNN'), record('GRU'), record('LSTM')];
