// Half precision ends at 65,504: larger values become infinite. Sums of squares in normalization are the usual place.
import { type CauseRule, figure } from './cause.js';

const LARGEST_HALF = 65504;

export const fp16Overflow: CauseRule = {
  name: 'fp16-overflow',
  summary: 'values beyond 65,504 become infinite in half precision',
  find({ kind, node, nonFinite, outputPeak }) {
    if (kind !== 'half' || (nonFinite === 0 && outputPeak <= LARGEST_HALF)) return undefined;
    return {
      evidence: `results reach ${figure(outputPeak)} in float; ${nonFinite} elements are infinite or not a number in half precision`,
      fixes: [{ option: 'exclude', value: [node] }],
    };
  },
};
