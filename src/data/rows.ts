// Rows of tensors: picking, joining and repeating along the first axis. Works on bytes, so it serves every type of whole bytes.
import { shapeError, typeError } from '../errors.js';
import { DTYPES } from '../ir/dtype.js';
import { elementCount, Tensor } from '../ir/tensor.js';

/** Number of rows: the first dimension. Throws E_SHAPE for a scalar. */
export function rowCount(tensor: Tensor): number {
  const rows = tensor.dims[0];
  if (rows === undefined) throw shapeError('expected a tensor with a first axis, got a scalar');
  return rows;
}

function rowBytes(tensor: Tensor): number {
  if (DTYPES[tensor.dtype].bits < 8) throw typeError(`rows of packed ${tensor.dtype} tensors cannot be picked: expected whole bytes`);
  return elementCount(tensor.dims.slice(1)) * (DTYPES[tensor.dtype].bits / 8);
}

/**
 * The rows with these indices, [indices.length, ...]. Runs of neighbouring rows are read at once, so a tensor on disk is read only where needed.
 * Throws E_SHAPE for an index outside.
 */
export async function takeRows(tensor: Tensor, indices: readonly number[]): Promise<Tensor> {
  const rows = rowCount(tensor);
  for (const i of indices) if (!(i >= 0 && i < rows)) throw shapeError(`expected a row below ${rows}, got ${i}`);
  const dims = [indices.length, ...tensor.dims.slice(1)];
  if (tensor.dtype === 'string') {
    const per = elementCount(tensor.dims.slice(1));
    const all = tensor.stringBytes();
    return Tensor.strings(
      dims,
      indices.flatMap((i) => all.slice(i * per, (i + 1) * per)),
    );
  }
  const width = rowBytes(tensor);
  // Neighbouring rows of a file are read into memory of their own already.
  if (!tensor.source.resident && indices.length > 0 && indices.every((row, k) => row === indices[0]! + k)) {
    return new Tensor(tensor.dtype, dims, await tensor.source.slice(indices[0]! * width, (indices[0]! + indices.length) * width).load());
  }
  const out = new Uint8Array(width * indices.length);
  for (let k = 0; k < indices.length; ) {
    let end = k + 1;
    while (end < indices.length && indices[end] === indices[end - 1]! + 1) end++;
    const first = indices[k]!;
    out.set(await tensor.source.slice(first * width, (first + end - k) * width).load(), k * width);
    k = end;
  }
  return new Tensor(tensor.dtype, dims, out);
}

/** Joins tensors of one type and one row shape along the first axis. Throws E_TYPE and E_SHAPE where they differ. */
export function joinRows(parts: readonly Tensor[]): Tensor {
  const first = parts[0];
  if (first === undefined) throw shapeError('expected at least one tensor to join, got none');
  if (parts.length === 1) return first;
  const row = first.dims.slice(1).join(',');
  let rows = 0;
  for (const part of parts) {
    if (part.dtype !== first.dtype) throw typeError(`tensors to join: expected ${first.dtype}, got ${part.dtype}`);
    if (part.dims.slice(1).join(',') !== row) throw shapeError(`tensors to join: expected rows of [${row}], got [${part.dims.slice(1)}]`);
    rows += rowCount(part);
  }
  const dims = [rows, ...first.dims.slice(1)];
  if (first.dtype === 'string')
    return Tensor.strings(
      dims,
      parts.flatMap((p) => p.stringBytes()),
    );
  const out = new Uint8Array(parts.reduce((sum, p) => sum + p.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part.bytes(), at);
    at += part.byteLength;
  }
  return new Tensor(first.dtype, dims, out);
}

/** The first `rows` rows, as a view. */
export function headRows(tensor: Tensor, rows: number): Tensor {
  if (rowCount(tensor) === rows) return tensor;
  const dims = [rows, ...tensor.dims.slice(1)];
  if (tensor.dtype === 'string') return Tensor.strings(dims, tensor.stringBytes().slice(0, elementCount(dims)));
  return new Tensor(tensor.dtype, dims, tensor.bytes().subarray(0, rowBytes(tensor) * rows));
}
