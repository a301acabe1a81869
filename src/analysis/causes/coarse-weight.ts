// Few bits for many weights: the block's largest weight sets a step that the others cannot follow. Smaller blocks and rounding by the Hessian
// (Frantar et al., GPTQ, 2023) lose less.
import { type CauseRule, figure } from './cause.js';

const POOR_SQNR = 20;

export const coarseWeight: CauseRule = {
  name: 'coarse-weight',
  summary: 'the weight is rounded too coarsely for its bits',
  find({ weight, kind, own }) {
    if (!weight || weight.sqnr === null || weight.sqnr > POOR_SQNR || weight.perTensor || kind !== 'stored') return undefined;
    return {
      evidence: `weight ${weight.name} is rounded to ${figure(weight.sqnr)} dB${own === null ? '' : `, the layer's own error is ${figure(own)} dB`}`,
      fixes: [
        { option: 'method', value: 'search' },
        { option: 'block', value: 16 },
      ],
    };
  },
};
