// Sums of two 8-bit products saturate at 16 bits in the instructions of x86 processors without VNNI (vpmaddubsw): the integer kernel then differs
// from the arithmetic that Q/DQ states. Seen by running the same layer with the runtime's fusions off.
import { type CauseRule, figure } from './cause.js';

const LOST_DB = 3;

export const saturation: CauseRule = {
  name: 'saturation',
  summary: 'sums of 8-bit products saturate on this processor (x86 without VNNI)',
  find({ kind, own, ownExact }) {
    if (kind !== 'integer' || own === null || ownExact === null || ownExact - own < LOST_DB) return undefined;
    return {
      evidence: `the integer kernel reaches ${figure(own)} dB where the same arithmetic in float reaches ${figure(ownExact)} dB`,
      fixes: [{ option: 'reduceRange', value: 'on' }],
    };
  },
};
