// Every operator Pare knows. A new operator file adds one import and one spread here; nothing registers itself.
// Local functions of a model are no operators: shape inference looks into their bodies.

import { ACTIVATION_OPS } from './activation.js';
import { ATTENTION_OPS } from './attention.js';
import { CAST_OPS } from './cast.js';
import { CLASSIC_OPS } from './classic.js';
import { CONTRIB_ATTENTION_OPS } from './contrib-attention.js';
import { CONTRIB_CONV_OPS } from './contrib-conv.js';
import { CONTRIB_MATMUL_OPS } from './contrib-matmul.js';
import { CONTRIB_NORM_OPS } from './contrib-norm.js';
import { CONTRIB_OTHER_OPS } from './contrib-other.js';
import { CONTRIB_QLINEAR_OPS } from './contrib-qlinear.js';
import { CONTROL_OPS } from './control.js';
import { CONV_OPS } from './conv.js';
import { DETECTION_OPS } from './detection.js';
import { ELEMENTWISE_OPS } from './elementwise.js';
import { GENERATE_OPS } from './generate.js';
import { INDEXING_OPS } from './indexing.js';
import { LOGIC_OPS } from './logic.js';
import { LOSS_OPS } from './loss.js';
import { MATMUL_OPS } from './matmul.js';
import { MOVEMENT_OPS } from './movement.js';
import { NORM_OPS } from './norm.js';
import type { OpRecord } from './op.js';
import { OPTIONAL_OPS } from './optional.js';
import { POOL_OPS } from './pool.js';
import { QUANTIZE_OPS } from './quantize.js';
import { RECURRENT_OPS } from './recurrent.js';
import { REDUCE_OPS } from './reduce.js';
import { RESIZE_OPS } from './resize.js';
import { SEQUENCE_OPS } from './sequence.js';
import { SHAPE_OPS } from './shape.js';
import { SIGNAL_OPS } from './signal.js';
import { SLICE_OPS } from './slice.js';
import { TEXT_OPS } from './text.js';

export const ALL_OPS: readonly OpRecord[] = [
  ...CONTRIB_OTHER_OPS,
  ...CONTRIB_QLINEAR_OPS,
  ...CONTRIB_ATTENTION_OPS,
  ...CLASSIC_OPS,
  ...CONTROL_OPS,
  ...DETECTION_OPS,
  ...OPTIONAL_OPS,
  ...RECURRENT_OPS,
  ...SEQUENCE_OPS,
  ...SIGNAL_OPS,
  ...TEXT_OPS,
  ...CAST_OPS,
  ...ELEMENTWISE_OPS,
  ...GENERATE_OPS,
  ...INDEXING_OPS,
  ...LOGIC_OPS,
  ...LOSS_OPS,
  ...MOVEMENT_OPS,
  ...REDUCE_OPS,
  ...RESIZE_OPS,
  ...SHAPE_OPS,
  ...SLICE_OPS,
  ...CONTRIB_NORM_OPS,
  ...ACTIVATION_OPS,
  ...MATMUL_OPS,
  ...CONV_OPS,
  ...CONTRIB_MATMUL_OPS,
  ...ATTENTION_OPS,
  ...POOL_OPS,
  ...CONTRIB_CONV_OPS,
  ...QUANTIZE_OPS,
  ...NORM_OPS,
];

const BY_NAME = new Map<string, OpRecord>(ALL_OPS.map((record) => [`${record.domain}:${record.opType}`, record]));

/** Record of an operator; `ai.onnx` is the default domain ''. */
export function opRecord(domain: string, opType: string): OpRecord | undefined {
  return BY_NAME.get(`${domain === 'ai.onnx' ? '' : domain}:${opType}`);
}
