// A rare value stretched the calibrated range, so that common values share a few codes. Percentile, entropy and mean-squared-error observers cut
// such tails off (Migacz, 8-bit Inference with TensorRT, 2017; Wu et al. 2020).
import { type CauseRule, figure } from './cause.js';

const STRETCH = 8;
const GOOD_SQNR = 32;
/** An operator that turns the rounding of its input into an error this much larger lives on the values that were rounded away. */
const AMPLIFIED_DB = 10;
const POOR_OWN = 25;

export const rangeCollapse: CauseRule = {
  name: 'range-collapse',
  summary: 'a rare value stretched the range: most values share a few codes',
  find(layer) {
    const { input, node, op, own, weight } = layer;
    if (!input?.range || input.sqnr === null || !(input.common > 0)) return undefined;
    const reach = Math.max(-input.range[0], input.range[1]);
    const codesBelow = (size: number) => Math.max(0, Math.min(255, Math.round((255 * size) / (input.range![1] - input.range![0]))));
    // Roots, quotients and logarithms: the relative error of small values counts, which the mean over all values hides.
    if (!weight && own !== null && own < POOR_OWN && input.sqnr - own >= AMPLIFIED_DB) {
      return {
        evidence: `${op} reads ${input.name}, whose range reaches ${figure(reach)} while half of the values stay below ${figure(input.typical)} (${codesBelow(input.typical)} of 256 codes): rounding is ${figure(input.sqnr)} dB, but the result is left with ${own <= -1000 ? 'infinite values' : `${figure(own)} dB`}`,
        advice: 'small values matter here, as in the roots and quotients of a norm: leave the norm float (simplifying recognises it)',
        fixes: [{ option: 'exclude', value: [node] }],
      };
    }
    if (input.sqnr > GOOD_SQNR || reach / input.common < STRETCH) return undefined;
    return {
      evidence: `input ${input.name}: the range reaches ${figure(reach)} but 99.9 % of values stay below ${figure(input.common)} and get about ${Math.max(1, codesBelow(2 * input.common))} of 256 codes; rounding gives ${figure(input.sqnr)} dB`,
      fixes: ['percentile', 'entropy', 'mse'].map((value) => ({ option: 'observer', value })),
    };
  },
};
