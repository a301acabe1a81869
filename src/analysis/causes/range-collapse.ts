// A rare value stretched the calibrated range, so that common values share a few codes. Percentile, entropy and mean-squared-error observers cut
// such tails off (Migacz, 8-bit Inference with TensorRT, 2017; Wu et al. 2020).
import { type CauseRule, figure } from './cause.js';

const STRETCH = 8;
const GOOD_SQNR = 32;

export const rangeCollapse: CauseRule = {
  name: 'range-collapse',
  summary: 'a rare value stretched the range: most values share a few codes',
  find({ input }) {
    if (!input?.range || input.sqnr === null || input.sqnr > GOOD_SQNR || !(input.common > 0)) return undefined;
    const reach = Math.max(-input.range[0], input.range[1]);
    const stretch = reach / input.common;
    if (stretch < STRETCH) return undefined;
    const codes = Math.max(1, Math.round((255 * 2 * input.common) / (input.range[1] - input.range[0])));
    return {
      evidence: `input ${input.name}: the range reaches ${figure(reach)} but 99.9 % of values stay below ${figure(input.common)} and get about ${Math.min(codes, 255)} of 256 codes; rounding gives ${figure(input.sqnr)} dB`,
      fixes: [{ option: 'observer', value: 'mse' }],
    };
  },
};
