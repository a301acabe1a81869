// Adapters apart from their model, as safetensors: LAYER.lora_a [k, r] and LAYER.lora_b [r, n] in float32, with rank, alpha and the factor of each update in
// the metadata. A few hundred kilobytes instead of the whole model.
import { formatError, nothingToDoError, usageError } from '../../errors.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { decodeSafeTensors, encodeSafeTensors } from '../../util/safetensors.js';
import { A_SUFFIX, B_SUFFIX, findAdapters } from './find.js';

const FORMAT = 'pare-adapter-1';

export interface AdapterFile {
  /** Factor of A B. */
  readonly scale: number;
  /** By name of the layer. */
  readonly layers: ReadonlyMap<string, { readonly a: Tensor; readonly b: Tensor }>;
}

/** The adapters of a model. Throws E_NOTHING_TO_DO where it has none. */
export function readAdapters(model: Model): AdapterFile {
  const adapters = findAdapters(model);
  const [first] = adapters;
  if (!first) throw nothingToDoError('adapters: expected a model with adapters, got one without');
  const other = adapters.find((x) => x.scale !== first.scale);
  if (other) throw usageError(`adapters: expected one factor for all, got ${first.scale} and ${other.scale} (${other.layer})`);
  return { scale: first.scale, layers: new Map(adapters.map((x) => [x.layer, { a: x.a.initializer!, b: x.b.initializer! }])) };
}

export function encodeAdapters({ scale, layers }: AdapterFile): Uint8Array {
  const arrays = [...layers].flatMap(([layer, { a, b }]) => [
    [layer + A_SUFFIX, { dims: a.dims, data: a.floats() }] as const,
    [layer + B_SUFFIX, { dims: b.dims, data: b.floats() }] as const,
  ]);
  return encodeSafeTensors({ metadata: { format: FORMAT, scale: String(scale) }, arrays: new Map(arrays) });
}

/** Throws E_FORMAT for files that hold no adapters. */
export function decodeAdapters(bytes: Uint8Array, name = 'adapter'): AdapterFile {
  const { metadata, arrays } = decodeSafeTensors(bytes, name);
  if (metadata.format !== FORMAT) throw formatError(`${name}: expected format ${FORMAT}, got ${metadata.format ?? 'none'}`);
  const scale = Number(metadata.scale);
  if (!Number.isFinite(scale)) throw formatError(`${name}: expected a scale, got ${metadata.scale}`);
  const layers = new Map<string, { a: Tensor; b: Tensor }>();
  for (const [key, a] of arrays) {
    if (!key.endsWith(A_SUFFIX)) continue;
    const layer = key.slice(0, -A_SUFFIX.length);
    const b = arrays.get(layer + B_SUFFIX);
    if (!b || a.dims.length !== 2 || b.dims.length !== 2 || a.dims[1] !== b.dims[0])
      throw formatError(`${name}: expected ${layer}${B_SUFFIX} that fits [${a.dims}], got ${b ? `[${b.dims}]` : 'none'}`);
    layers.set(layer, { a: Tensor.of('float', a.dims, a.data), b: Tensor.of('float', b.dims, b.data) });
  }
  if (layers.size === 0) throw formatError(`${name}: expected adapters, got none`);
  return { scale, layers };
}
