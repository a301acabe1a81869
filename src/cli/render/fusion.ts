// What the runtime made of the quantized nodes: integer kernels by kind, and nodes that it did not fuse with their conversions, by reason.
import type { Fusion } from '../../pass/record.js';

const MAX_NODES = 6;

/** Nothing where everything fused: the latency says the rest. */
export function renderFusion(fusion: Fusion | undefined): string[] {
  if (!fusion || fusion.unfused.length === 0) return [];
  const total = Object.values(fusion.kernels).reduce((a, b) => a + b, 0);
  const list = Object.entries(fusion.kernels).map(([kernel, n]) => `${n} ${kernel}`);
  const byReason = new Map<string, string[]>();
  for (const { node, op, reason } of fusion.unfused) byReason.set(reason, [...(byReason.get(reason) ?? []), `${node} (${op})`]);
  const lines = [...byReason].map(([reason, nodes]) => {
    const more = nodes.length > MAX_NODES ? ` and ${nodes.length - MAX_NODES} more` : '';
    return `  ${nodes.slice(0, MAX_NODES).join(', ')}${more}: ${reason}`;
  });
  const runs = total > 0 ? `${total} integer kernels (${list.join(', ')})` : 'no integer kernels';
  return [`the runtime uses ${runs}; ${fusion.unfused.length} quantized nodes did not fuse and compute in float:`, ...lines];
}
