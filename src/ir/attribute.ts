// Attribute values of a node. Integers are bigint because ONNX uses all 64 bits of them (Slice-1 ends at 2^63-1); the getters on Node give numbers.
import type { Graph } from './graph.js';
import type { Tensor } from './tensor.js';
import type { ValueType } from './type.js';

/** Coordinate-format sparse tensor: `indices` is [nnz] (linear) or [nnz, rank]. */
export interface SparseTensor {
  readonly dims: readonly number[];
  readonly values: Tensor;
  readonly indices: Tensor;
  /** Name of the value in the graph, carried by `values` in the file. */
  readonly name?: string;
}

/** UTF-8 text, or the raw bytes where they are not valid UTF-8. */
export type Text = string | Uint8Array;

export type AttributeValue =
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'int'; readonly value: bigint }
  | { readonly type: 'string'; readonly value: Text }
  | { readonly type: 'tensor'; readonly value: Tensor }
  | { readonly type: 'graph'; readonly value: Graph }
  | { readonly type: 'sparse_tensor'; readonly value: SparseTensor }
  | { readonly type: 'type_proto'; readonly value: ValueType }
  | { readonly type: 'floats'; readonly value: readonly number[] }
  | { readonly type: 'ints'; readonly value: readonly bigint[] }
  | { readonly type: 'strings'; readonly value: readonly Text[] }
  | { readonly type: 'tensors'; readonly value: readonly Tensor[] }
  | { readonly type: 'graphs'; readonly value: readonly Graph[] }
  | { readonly type: 'sparse_tensors'; readonly value: readonly SparseTensor[] }
  | { readonly type: 'type_protos'; readonly value: readonly ValueType[] }
  /** Inside a local function: the value of the function's attribute `ref`, of the type `of`. */
  | { readonly type: 'ref'; readonly ref: string; readonly of: Exclude<AttributeValue['type'], 'ref'> };

export interface AttributeExtra {
  readonly doc?: string | undefined;
  readonly unknown?: Uint8Array | undefined;
}

export type Attribute = AttributeValue & { readonly extra?: AttributeExtra | undefined };

/** Shorthands by which builders and passes write attributes; `attributeOf` turns them into the full form. */
export type AttributeInput = number | bigint | string | boolean | readonly number[] | readonly bigint[] | readonly string[] | Attribute;

/**
 * Full form of a shorthand. Whole numbers become ints, other numbers floats; an empty array becomes ints.
 * Where a float happens to be whole, say so: `{ type: 'float', value: 1 }`.
 */
export function attributeOf(input: AttributeInput): Attribute {
  if (typeof input === 'number') return Number.isInteger(input) ? { type: 'int', value: BigInt(input) } : { type: 'float', value: input };
  if (typeof input === 'bigint') return { type: 'int', value: input };
  if (typeof input === 'boolean') return { type: 'int', value: input ? 1n : 0n };
  if (typeof input === 'string') return { type: 'string', value: input };
  if (!Array.isArray(input)) return input as Attribute;
  const items = input as readonly (number | bigint | string)[];
  if (items.some((x) => typeof x === 'string')) return { type: 'strings', value: items.map(String) };
  if (items.every((x) => typeof x === 'bigint' || Number.isInteger(x))) return { type: 'ints', value: items.map((x) => BigInt(x)) };
  return { type: 'floats', value: items.map(Number) };
}
