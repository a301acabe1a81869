// What each compression technique could touch in a model and what it would save at best, from the operators' facts alone.
// Sizes count weights only; block-wise schemes include one float scale per block. Nothing is run and no accuracy is promised.
import { DTYPES } from '../ir/dtype.js';
import type { Node } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import { walkNodes } from '../ir/walk.js';
import type { QuantFacts } from '../ops/op.js';
import { opRecord } from '../ops/registry.js';
import { constantsOf } from './facts.js';

export interface Potential {
  readonly technique: string;
  /** The command that applies it; null where Pare has none yet. */
  readonly command: string | null;
  /** Nodes it could change. */
  readonly nodes: number;
  /** Bytes of constants it could change. */
  readonly bytes: number;
  /** Bytes of constants that it saves at best. */
  readonly saves: number;
}

const BLOCK = 32;
/** Bits per weight of 4-bit blocks of 32 with a float32 scale each. */
const INT4_BITS = 4 + 32 / BLOCK;
/** Share of channels that structured pruning is assumed to remove for the estimate. */
const PRUNED = 0.5;
const DYNAMIC_OPS = new Set(['MatMul', 'Gemm', 'LSTM', 'Attention']);
const BLOCKWISE_OPS = new Set(['MatMul', 'Gemm', 'Gather']);

interface WeightUse {
  readonly node: Node;
  readonly kind: QuantFacts;
  readonly tensor: Tensor;
}

/** Potentials in the order of what they save, largest first; techniques that could touch nothing are left out. */
export function compressionPotential(model: Model): Potential[] {
  const uses = weightUses(model);
  const compute = uses.filter((u) => u.kind !== 'none' && u.kind.kind === 'compute');
  const floats = constantsOf(model).filter((c) => c.tensor.dtype === 'float');
  const floatBytes = floats.reduce((sum, c) => sum + c.tensor.byteLength, 0);
  const floatNodes = new Set(floats.flatMap((c) => c.readers)).size;
  const matrices = compute.filter((u) => u.tensor.rank === 2);
  const found = [
    estimate('int8 static (QDQ)', 'quantize --mode static', compute, 1 - 8 / 32),
    estimate(
      'int8 dynamic',
      'quantize --mode dynamic',
      compute.filter((u) => DYNAMIC_OPS.has(u.node.opType)),
      1 - 8 / 32,
    ),
    estimate('int8 weights', 'quantize --mode weights --bits 8', uses, 1 - (8 + 32 / BLOCK) / 32),
    estimate(
      'int4 weights',
      'quantize --mode weights --bits 4',
      uses.filter((u) => BLOCKWISE_OPS.has(u.node.opType)),
      1 - INT4_BITS / 32,
    ),
    { technique: 'float16', command: 'quantize --mode fp16', nodes: floatNodes, bytes: floatBytes, saves: floatBytes / 2 },
    estimate('structured pruning, half of the channels', null, compute, 1 - (1 - PRUNED) ** 2),
    lowRank(matrices),
  ];
  return found.filter((p) => p.nodes > 0 && p.saves > 0).sort((a, b) => b.saves - a.saves);
}

function estimate(technique: string, command: string | null, uses: readonly WeightUse[], fraction: number): Potential {
  const tensors = new Set(uses.map((u) => u.tensor));
  const bytes = [...tensors].reduce((sum, t) => sum + t.byteLength, 0);
  return { technique, command, nodes: new Set(uses.map((u) => u.node)).size, bytes, saves: Math.round(bytes * fraction) };
}

/** A [k, n] matrix of rank r takes r (k + n) numbers instead of k n: a quarter of the full rank is taken as what usually survives. */
function lowRank(uses: readonly WeightUse[]): Potential {
  const saving = (t: Tensor) => {
    const [k, n] = t.dims as [number, number];
    const rank = Math.ceil(Math.min(k, n) / 4);
    return Math.max(0, (k * n - rank * (k + n)) * (DTYPES[t.dtype].bits / 8));
  };
  const worth = uses.filter((u) => saving(u.tensor) > 0);
  const tensors = [...new Set(worth.map((u) => u.tensor))];
  return {
    technique: 'low rank, a quarter of the full rank',
    command: null,
    nodes: new Set(worth.map((u) => u.node)).size,
    bytes: tensors.reduce((sum, t) => sum + t.byteLength, 0),
    saves: tensors.reduce((sum, t) => sum + saving(t), 0),
  };
}

/** Nodes with a constant float weight or table. */
function weightUses(model: Model): WeightUse[] {
  const uses: WeightUse[] = [];
  for (const node of walkNodes(model.graph)) {
    const record = opRecord(node.domain, node.opType);
    if (!record) continue;
    const kind = typeof record.quant === 'function' ? record.quant(node) : record.quant;
    const index = kind === 'none' ? null : kind.kind === 'compute' ? kind.weight : kind.kind === 'lookup' ? kind.table : null;
    const tensor = index === null ? null : node.input(index)?.initializer;
    if (tensor?.dtype === 'float' && tensor.size > 1) uses.push({ node, kind, tensor });
  }
  return uses;
}
