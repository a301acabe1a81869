// Every model of the shared folder, with what the commands need to know about it.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DATA } from '../lib/pare.js';

/** Models that are profiled but must be refused by every command that rewrites. */
export const REFUSED = new Set(['supres/supres_extensions_op18.onnx', 'onnxruntime-go/sklearn_randomforest.onnx']);

export function sharedModels() {
  return readdirSync(DATA, { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.onnx'))
    .map((f) => f.split('\\').join('/'))
    .sort();
}

export const pathOf = (model) => join(DATA, model);
