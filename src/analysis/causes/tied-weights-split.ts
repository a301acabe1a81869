// A weight that the original stores once (an embedding tied to the output layer) has become several constants: the file grew and the copies differ.
import type { CauseRule } from './cause.js';

export const tiedWeightsSplit: CauseRule = {
  name: 'tied-weights-split',
  summary: 'a weight shared by several nodes was stored more than once',
  find({ split }) {
    if (!split) return undefined;
    return {
      evidence: `weight ${split.weight} (${split.bytesBefore} bytes) is read by several nodes and became ${split.names.length} constants of ${split.bytes} bytes: ${split.names.slice(0, 4).join(', ')}`,
      fixes: [{ option: 'embeddings', value: false }],
    };
  },
};
