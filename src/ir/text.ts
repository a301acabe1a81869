// ONNX text: printing and parsing. See text-print.ts and text-parse.ts.
export { parseGraph, parseModel } from './text-parse.js';
export { type PrintOptions, printGraph, printModel, printType } from './text-print.js';
