// Values beyond the calibrated range are cut off: the calibration data did not show what the model meets now.
import { type CauseRule, figure } from './cause.js';

const BEYOND = 1.25;
const GOOD_SQNR = 32;

export const clippedRange: CauseRule = {
  name: 'clipped-range',
  summary: 'values lie beyond the calibrated range and are cut off',
  find({ input }) {
    if (!input?.range || input.sqnr === null || input.sqnr > GOOD_SQNR) return undefined;
    const [low, high] = input.range;
    const beyond = Math.max(high > 0 ? input.max / high : 0, low < 0 ? input.min / low : 0);
    if (beyond < BEYOND) return undefined;
    return {
      evidence: `input ${input.name}: values from ${figure(input.min)} to ${figure(input.max)}, range ${figure(low)} to ${figure(high)}; rounding and cutting give ${figure(input.sqnr)} dB`,
      advice: 'calibrate on more data, or data that is more like this',
      fixes: [{ option: 'observer', value: 'minmax' }],
    };
  },
};
