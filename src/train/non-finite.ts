// Where NaN or infinity came from: the step is run again with every float value as an output, and the nodes are walked in order until one answers a
// number that is none although all it reads are.
import { nonFiniteError, type PareError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import type { Node, Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import type { Engine, SessionOptions } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';

/** Nodes whose values are read in one run: all at once would keep every activation in memory. */
const NODES_PER_RUN = 64;

export interface Culprit {
  readonly node: Node;
  readonly value: string;
  readonly found: 'NaN' | 'infinity';
}

/**
 * The first node that makes NaN without reading one, or infinity out of finite values (masks may hold infinity on purpose); undefined where none does.
 * A feed that is not finite itself is answered as `feed`.
 */
export async function findNonFinite(
  engine: Engine,
  model: Model,
  feeds: Readonly<Record<string, Tensor>>,
  session: SessionOptions = {},
): Promise<Culprit | { readonly feed: string } | undefined> {
  for (const [name, tensor] of Object.entries(feeds)) if (kindOf(tensor)) return { feed: name };
  const nodes = model.graph.nodes;
  const kinds = new Map<string, Culprit['found'] | undefined>();
  const kindOfInput = (value: Value | null): Culprit['found'] | undefined => {
    if (value === null) return undefined;
    if (value.initializer && !kinds.has(value.name)) kinds.set(value.name, kindOf(value.initializer));
    return kinds.get(value.name);
  };
  for (let start = 0; start < nodes.length; start += NODES_PER_RUN) {
    const part = nodes.slice(start, start + NODES_PER_RUN);
    const names = part.flatMap((n) => n.outputs.filter(isFloatValue).map((v) => v.name));
    if (names.length === 0) continue;
    // Without fusions, so that every value of the graph exists.
    const open = await openSession(engine, model, { ...session, optimization: 'disabled', outputs: names });
    try {
      const results = await open.run(feeds, names);
      for (const node of part) {
        for (const output of node.outputs) {
          const tensor = output && results[output.name];
          const found = tensor && kindOf(tensor);
          if (!found) continue;
          kinds.set(output.name, found);
          const read = node.inputs.map(kindOfInput);
          const inherited = found === 'NaN' ? read.includes('NaN') : read.some((k) => k !== undefined);
          if (!inherited && node.inputs.length > 0) return { node, value: output.name, found };
        }
      }
    } finally {
      await open.release();
    }
  }
  return undefined;
}

/** The error that ends a training, with the node that started it in one of the runs of the step. */
export async function explainNonFinite(
  what: string,
  step: number,
  engine: Engine,
  runs: readonly { readonly model: Model; readonly feeds: Readonly<Record<string, Tensor>> }[],
  session: SessionOptions = {},
): Promise<PareError> {
  let culprit: Awaited<ReturnType<typeof findNonFinite>>;
  for (const { model, feeds } of runs) culprit ??= await findNonFinite(engine, model, feeds, session);
  const hint = 'lower the learning rate, clip the gradients by their norm, or look at the data of this step';
  const begin = `training step ${step}: ${what}`;
  if (culprit === undefined) {
    return nonFiniteError(`${begin}; run again without fused operators the step is finite`, { hint });
  }
  if ('feed' in culprit) {
    return nonFiniteError(`${begin}: "${culprit.feed}", which is fed, already holds NaN or infinity`, {
      place: { value: culprit.feed },
      hint: 'look for broken samples in the data, or for a parameter that was not finite to begin with',
    });
  }
  const { node, value, found } = culprit;
  return nonFiniteError(`${begin}; the first to give ${found} is ${node.op} "${node.label}"`, { place: { node: node.label, value }, hint });
}

function isFloatValue(value: Value | null): value is Value {
  const dtype = tensorTypeOf(value)?.dtype;
  return dtype !== undefined && isFloat(dtype);
}

function kindOf(tensor: Tensor): 'NaN' | 'infinity' | undefined {
  if (!isFloat(tensor.dtype)) return undefined;
  let infinite = false;
  for (const x of tensor.floats()) {
    if (Number.isNaN(x)) return 'NaN';
    if (!Number.isFinite(x)) infinite = true;
  }
  return infinite ? 'infinity' : undefined;
}
