// Every operator Pare knows. A new operator file adds one import and one spread here; nothing registers itself.
// Local functions of a model are no operators: shape inference looks into their bodies.
import type { OpRecord } from './op.js';

export const ALL_OPS: readonly OpRecord[] = [];

const BY_NAME = new Map<string, OpRecord>(ALL_OPS.map((record) => [`${record.domain}:${record.opType}`, record]));

/** Record of an operator; `ai.onnx` is the default domain ''. */
export function opRecord(domain: string, opType: string): OpRecord | undefined {
  return BY_NAME.get(`${domain === 'ai.onnx' ? '' : domain}:${opType}`);
}
