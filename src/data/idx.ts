// IDX, the format of MNIST: magic 0 0 type rank, big-endian dimensions, then the elements in big-endian order. Plain or gzipped.
// Source: Y. LeCun, "The MNIST database", yann.lecun.com/exdb/mnist.
import { formatError } from '../errors.js';
import { DTYPES, type DType } from '../ir/dtype.js';
import { elementCount, Tensor } from '../ir/tensor.js';
import { gunzip } from './gzip.js';

const TYPES: Record<number, DType> = { 8: 'uint8', 9: 'int8', 11: 'int16', 12: 'int32', 13: 'float', 14: 'double' };

/** Throws E_FORMAT for anything else, or where the file is shorter than its header says. */
export function parseIdx(source: Uint8Array, file = 'idx'): Tensor {
  const bytes = gunzip(source, file);
  const fail = (message: string) => formatError(message, { place: { file } });
  const dtype = TYPES[bytes[2] ?? -1];
  const rank = bytes[3] ?? 0;
  const start = 4 + 4 * rank;
  if (bytes[0] !== 0 || bytes[1] !== 0 || dtype === undefined || rank === 0 || bytes.length < start)
    throw fail(`not an IDX file: expected a header 0 0 type rank, got ${[...bytes.subarray(0, 4)].join(' ')}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const dims = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  const width = DTYPES[dtype].bits / 8;
  const expected = elementCount(dims) * width;
  if (bytes.length - start !== expected)
    throw fail(`IDX ${dtype}[${dims.join(',')}]: expected ${expected} bytes, got ${bytes.length - start}`);
  const body = bytes.subarray(start);
  if (width === 1) return new Tensor(dtype, dims, body);
  const swapped = new Uint8Array(body.length);
  for (let i = 0; i < body.length; i++) swapped[i] = body[i - (i % width) + width - 1 - (i % width)]!;
  return new Tensor(dtype, dims, swapped);
}

/** A tensor as an IDX file (not gzipped). */
export function encodeIdx(tensor: Tensor): Uint8Array {
  const code = Object.keys(TYPES).find((key) => TYPES[Number(key)] === tensor.dtype);
  if (code === undefined) throw formatError(`IDX cannot hold ${tensor.dtype}: expected ${Object.values(TYPES).join(', ')}`);
  const width = DTYPES[tensor.dtype].bits / 8;
  const body = tensor.bytes();
  const out = new Uint8Array(4 + 4 * tensor.rank + body.length);
  const view = new DataView(out.buffer);
  out[2] = Number(code);
  out[3] = tensor.rank;
  for (const [i, d] of tensor.dims.entries()) view.setUint32(4 + 4 * i, d);
  const start = 4 + 4 * tensor.rank;
  for (let i = 0; i < body.length; i++) out[start + i] = body[i - (i % width) + width - 1 - (i % width)]!;
  return out;
}
