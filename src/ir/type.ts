// Types of values: tensors with partly known shapes, and ONNX's sequences, optionals, maps and sparse tensors.
// A dimension is a number, a symbolic expression in canonical text ("batch", "2*seq+1", see dim.ts), or null where nothing is known.
import type { DType } from './dtype.js';

export type Dim = number | string | null;
export type Shape = readonly Dim[];

export type ValueType =
  /** `shape: null` means that not even the rank is known. */
  | { readonly kind: 'tensor'; readonly dtype: DType; readonly shape: Shape | null; readonly denotation?: string }
  | { readonly kind: 'sparse'; readonly dtype: DType; readonly shape: Shape | null; readonly denotation?: string }
  | { readonly kind: 'sequence'; readonly element: ValueType | null; readonly denotation?: string }
  | { readonly kind: 'optional'; readonly element: ValueType | null; readonly denotation?: string }
  | { readonly kind: 'map'; readonly key: DType; readonly value: ValueType | null; readonly denotation?: string }
  | { readonly kind: 'opaque'; readonly domain: string; readonly name: string; readonly denotation?: string };

export type TensorType = Extract<ValueType, { kind: 'tensor' }>;

export function tensorType(dtype: DType, shape: Shape | null): TensorType {
  return { kind: 'tensor', dtype, shape };
}

/** True where every dimension is a number. */
export function isStatic(shape: Shape | null | undefined): shape is readonly number[] {
  return shape?.every((d) => typeof d === 'number') ?? false;
}

export function formatShape(shape: Shape | null | undefined): string {
  return shape == null ? '[...]' : `[${shape.map((d) => (d === null ? '?' : d)).join(',')}]`;
}

/** Type as ONNX text writes it: `float[batch,3,224,224]`. */
export function formatType(type: ValueType | undefined): string {
  if (type === undefined) return '?';
  switch (type.kind) {
    case 'tensor':
      return `${type.dtype}${type.shape === null ? '' : formatShape(type.shape)}`;
    case 'sparse':
      return `sparse_tensor(${type.dtype}${type.shape === null ? '' : formatShape(type.shape)})`;
    case 'sequence':
      return `seq(${type.element ? formatType(type.element) : '?'})`;
    case 'optional':
      return `optional(${type.element ? formatType(type.element) : '?'})`;
    case 'map':
      return `map(${type.key},${type.value ? formatType(type.value) : '?'})`;
    case 'opaque':
      return `opaque(${type.domain},${type.name})`;
  }
}
