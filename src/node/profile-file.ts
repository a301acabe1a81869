// The profile that ONNX Runtime writes: a JSON array of trace events. Kernel times are summed per node.
import { formatError } from '../errors.js';
import type { NodeTime } from '../runtime/engine.js';

interface TraceEvent {
  readonly cat?: string;
  readonly name?: string;
  /** Microseconds. */
  readonly dur?: number;
  readonly args?: {
    readonly op_name?: string;
    readonly provider?: string;
    readonly node_index?: string;
    /** For each operand its type and dimensions: `[{"uint8":[1,3,8,8]},{"float":[]}]`. */
    readonly input_type_shape?: readonly Readonly<Record<string, unknown>>[];
  };
}

const SUFFIX = '_kernel_time';

/** Times by node, longest first. A node inside a loop counts one run per turn. */
export function parseProfile(text: string): NodeTime[] {
  let events: readonly TraceEvent[];
  try {
    events = JSON.parse(text) as readonly TraceEvent[];
  } catch (cause) {
    throw formatError('the profile that ONNX Runtime wrote is no JSON', { cause });
  }
  const sums = new Map<string, { node: string; opType: string; provider: string; inputType?: string; ms: number; runs: number }>();
  for (const event of events) {
    if (event.cat !== 'Node' || !event.name?.endsWith(SUFFIX)) continue;
    const node = event.name.slice(0, -SUFFIX.length);
    const opType = event.args?.op_name ?? '';
    const key = `${node}\n${opType}\n${event.args?.node_index ?? ''}`;
    const inputType = Object.keys(event.args?.input_type_shape?.[0] ?? {})[0];
    const known = { node, opType, provider: event.args?.provider ?? '', ...(inputType === undefined ? {} : { inputType }), ms: 0, runs: 0 };
    const sum = sums.get(key) ?? known;
    sum.ms += (event.dur ?? 0) / 1000;
    sum.runs += 1;
    sums.set(key, sum);
  }
  return [...sums.values()].sort((a, b) => b.ms - a.ms);
}
