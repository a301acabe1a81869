// Every operator Pare knows. A new operator file adds one import and one spread here; nothing registers itself.
// Local functions of a model are no operators: shape inference looks into their bodies.

import { CLASSIC_OPS } from './classic.js';
import { CONTROL_OPS } from './control.js';
import { DETECTION_OPS } from './detection.js';
import type { OpRecord } from './op.js';
import { OPTIONAL_OPS } from './optional.js';
import { RECURRENT_OPS } from './recurrent.js';
import { SEQUENCE_OPS } from './sequence.js';
import { SIGNAL_OPS } from './signal.js';
import { TEXT_OPS } from './text.js';

export const ALL_OPS: readonly OpRecord[] = [
  ...CLASSIC_OPS,
  ...CONTROL_OPS,
  ...DETECTION_OPS,
  ...OPTIONAL_OPS,
  ...RECURRENT_OPS,
  ...SEQUENCE_OPS,
  ...SIGNAL_OPS,
  ...TEXT_OPS,
];

const BY_NAME = new Map<string, OpRecord>(ALL_OPS.map((record) => [`${record.domain}:${record.opType}`, record]));

/** Record of an operator; `ai.onnx` is the default domain ''. */
export function opRecord(domain: string, opType: string): OpRecord | undefined {
  return BY_NAME.get(`${domain === 'ai.onnx' ? '' : domain}:${opType}`);
}
