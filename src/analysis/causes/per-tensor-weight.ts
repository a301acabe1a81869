// One scale for all output channels of a weight although they differ widely: worst in depthwise convolutions, where every channel stands alone
// (Krishnamoorthi 2018, section 3; Nagel et al., Data-Free Quantization, 2019).
import { type CauseRule, figure } from './cause.js';

const SPREAD = 4;

export const perTensorWeight: CauseRule = {
  name: 'per-tensor-weight',
  summary: 'one scale serves channels of very different size; in depthwise convolutions each of them is a filter of its own',
  find({ weight }) {
    if (!weight?.perTensor || weight.spread < SPREAD) return undefined;
    const which = weight.depthwise ? 'depthwise weight' : 'weight';
    return {
      evidence: `${which} ${weight.name} has one scale; channel ${weight.largest} is ${figure(weight.spread)} times the median channel${weight.sqnr === null ? '' : `, rounding gives ${figure(weight.sqnr)} dB`}`,
      fixes: [{ option: 'perChannel', value: true }],
    };
  },
};
