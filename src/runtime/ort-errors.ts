// Errors of ONNX Runtime in Pare's form: its own words without the build machine's source paths, the failing node picked out, and a hint
// for the failures that users meet most.
import { type ErrorPlace, PareError, runtimeError } from '../errors.js';

/** Patterns by which ONNX Runtime names the node that failed, at load or run time. */
const NODE_PATTERNS = [/Name:\s?'([^']+)'/, /node with name '([^']+)'/, /\bNode:? ?\(([^)]+)\)/, /\bin node \(([^)]+)\)/];

const HINTS: readonly (readonly [RegExp, string])[] = [
  [
    /Failed to load shared library|providers_shared|libonnxruntime_providers_cuda/,
    'CUDA needs libraries that are not in the package: reinstall onnxruntime-node with ONNXRUNTIME_NODE_INSTALL=cuda12 set, or use --device cpu',
  ],
  [/WebGPU adapter|webgpu_context/i, 'no usable GPU was found (a Vulkan, Metal or D3D12 driver is needed); use --device cpu'],
  [/unsupported data type: \d+/i, 'an input or output has a type that cannot cross into JavaScript; open the model with openSession'],
  [
    /is not a registered function\/op|No Op registered|Fatal error: .* is not a registered/i,
    'the operator is not part of this runtime: an extension library or a newer release may be needed',
  ],
  [/Could not find an implementation/, 'this runtime has no kernel for the operator with these element types'],
  [
    /bad allocation|Failed to allocate memory|std::bad_alloc|out of memory/i,
    'not enough memory: try a smaller batch, or the frugal option',
  ],
  [/ONNX Runtime only \*guarantees\* support|under development/, 'the model uses an opset newer than this runtime knows'],
];

function cleaned(text: string): string {
  return text
    .replace(/^Error: /, '')
    .replace(/\/?\S*onnxruntime_src\/\S+:\d+ /g, '')
    .replace(/\s+/g, ' ')
    .trim();
}

/** Wraps whatever the binding threw as E_RUNTIME; errors of our own pass through with the place added. */
export function wrapOrtError(error: unknown, action: string, place: ErrorPlace = {}): PareError {
  if (error instanceof PareError) return error.at(place);
  const raw = error instanceof Error ? error.message : String(error);
  const node = NODE_PATTERNS.map((p) => p.exec(raw)?.[1]).find((name) => name !== undefined && name !== '');
  const hint = HINTS.find(([pattern]) => pattern.test(raw))?.[1];
  return runtimeError(`${action}: ${cleaned(raw)}`, {
    place: { ...(node === undefined ? {} : { node }), ...place },
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}
