// One input channel far above the others sets the scale for all of them: the rest are left a few codes (Dettmers et al., LLM.int8(), 2022;
// Xiao et al., SmoothQuant, 2023, which moves the excess into the weights).
import { type CauseRule, figure } from './cause.js';

const SPREAD = 8;
/** Inputs rounded better than this lose nothing to outliers. */
const GOOD_SQNR = 32;

export const outlierChannel: CauseRule = {
  name: 'outlier-channel',
  summary: 'one channel of the input is far larger than the others and sets their scale',
  find({ input, node }) {
    if (!input || input.sqnr === null || input.sqnr > GOOD_SQNR || input.channelSpread < SPREAD) return undefined;
    return {
      evidence: `input ${input.name}: channel ${input.channel} peaks at ${figure(input.channelSpread)} times the median channel; rounding the input alone gives ${figure(input.sqnr)} dB`,
      fixes: [
        { option: 'equalize', value: true },
        { option: 'exclude', value: [node] },
      ],
    };
  },
};
