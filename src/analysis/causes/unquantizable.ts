// A layer with a large weight that stayed float: no accuracy is lost there, but neither bytes nor time are won.
import type { CauseRule } from './cause.js';

export const unquantizable: CauseRule = {
  name: 'unquantizable',
  summary: 'the operator or its operands have no quantized form in this mode: it stayed float',
  find({ kind, op, weight }) {
    if (kind !== 'float' || !weight) return undefined;
    return {
      evidence: `${op} with weight ${weight.name} computes in float on float weights`,
      advice: 'the reason is in the table of `pare quantize` ("left as it is"); its weight can be stored in 8 bits all the same',
      fixes: [{ option: 'optimize', value: 'size' }],
    };
  },
};
