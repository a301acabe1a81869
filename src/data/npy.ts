// NumPy's .npy: a magic, a header that is a Python dictionary literal, then the elements. All numeric types, half floats, bool, bytes and unicode
// strings, either byte order, C and Fortran order. Structured and object arrays are refused (object arrays are pickles: code, not data).
// Format: numpy.lib.format, versions 1 to 3.
import { formatError, unsupportedError } from '../errors.js';
import { DTYPES, type DType } from '../ir/dtype.js';
import type { ByteSource } from '../ir/source.js';
import { elementCount, Tensor } from '../ir/tensor.js';

const NUMERIC: Record<string, DType> = {
  b1: 'bool',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  f2: 'float16',
  f4: 'float',
  f8: 'double',
  c8: 'complex64',
  c16: 'complex128',
};

const MAX_HEADER = 1 << 20;

interface NpyHeader {
  readonly descr: string;
  readonly fortran: boolean;
  readonly dims: readonly number[];
  /** Where the elements begin. */
  readonly offset: number;
}

function parseHeader(head: Uint8Array, file: string): NpyHeader {
  const fail = (message: string) => formatError(message, { place: { file } });
  if (head.length < 10 || head[0] !== 0x93 || String.fromCharCode(...head.subarray(1, 6)) !== 'NUMPY')
    throw fail(
      `not an .npy file: expected the magic "\\x93NUMPY", got bytes ${[...head.subarray(0, 6)].map((b) => b.toString(16)).join(' ')}`,
    );
  const major = head[6]!;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (major < 1 || major > 3) throw fail(`.npy version: expected 1 to 3, got ${major}`);
  if (major > 1 && head.length < 12) throw fail('.npy header is cut off');
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = major === 1 ? 10 : 12;
  if (length > MAX_HEADER || start + length > head.length)
    throw fail(`.npy header: expected ${length} bytes at byte ${start}, got ${head.length - start}`);
  const text = new TextDecoder(major === 3 ? 'utf-8' : 'latin1').decode(head.subarray(start, start + length));
  const descr = /'descr'\s*:\s*'([^']*)'/.exec(text)?.[1];
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(text)?.[1];
  const shape = /'shape'\s*:\s*\(([^)]*)\)/.exec(text)?.[1];
  if (descr === undefined && /'descr'\s*:\s*\[/.test(text))
    throw unsupportedError('.npy: expected a plain element type, got a structured one', { place: { file } });
  if (descr === undefined || order === undefined || shape === undefined)
    throw fail(`.npy header: expected descr, fortran_order and shape, got ${text.trim().slice(0, 120)}`);
  const parts = shape
    .split(',')
    .map((s) => s.trim().replace(/L$/, ''))
    .filter((s) => s !== '');
  const dims = parts.map(Number);
  if (dims.some((d) => !Number.isSafeInteger(d) || d < 0)) throw fail(`.npy shape: expected whole numbers, got (${shape})`);
  return { descr, fortran: order === 'True', dims, offset: start + length };
}

/** Header and elements of an .npy file in a source. C-order little-endian arrays stay where they are; others are converted in memory. */
export async function readNpySource(source: ByteSource, file = '.npy'): Promise<Tensor> {
  const start = await source.slice(0, Math.min(source.byteLength, 4096)).load();
  // Almost every header fits the first block; the whole limit is read only where one says that it is longer.
  const longer = start.length >= 12 && (start[6]! > 1 || start[8]! + 256 * start[9]! > 4080);
  const head = longer ? await source.slice(0, Math.min(source.byteLength, MAX_HEADER + 12)).load() : start;
  const header = parseHeader(head, file);
  return tensorOf(header, source, file);
}

/** An .npy file in memory. Throws E_FORMAT, or E_UNSUPPORTED for object and structured arrays. */
export function parseNpy(bytes: Uint8Array, file = '.npy'): Tensor {
  const header = parseHeader(bytes, file);
  const { dtype, bytesPer } = elementOf(header, file);
  const body = bytes.subarray(header.offset);
  checkSize(header, bytesPer, body.byteLength, file);
  return decode(header, dtype, bytesPer, body);
}

async function tensorOf(header: NpyHeader, source: ByteSource, file: string): Promise<Tensor> {
  const { dtype, bytesPer } = elementOf(header, file);
  checkSize(header, bytesPer, source.byteLength - header.offset, file);
  const body = source.slice(header.offset, header.offset + elementCount(header.dims) * bytesPer);
  const inPlace = dtype !== 'string' && !header.fortran && (header.descr[0] !== '>' || bytesPer === 1);
  if (inPlace && !source.resident) return new Tensor(dtype, header.dims, body);
  return decode(header, dtype, bytesPer, await body.load());
}

function elementOf({ descr }: NpyHeader, file: string): { dtype: DType; bytesPer: number } {
  const match = /^([<>|=]?)([a-zA-Z])(\d*)$/.exec(descr);
  const kind = match?.[2] ?? '';
  const width = Number(match?.[3] || 0);
  const numeric = NUMERIC[kind === '?' ? 'b1' : `${kind}${width}`];
  if (numeric !== undefined) return { dtype: numeric, bytesPer: width };
  if (kind === 'U') return { dtype: 'string', bytesPer: 4 * width };
  if (kind === 'S' || kind === 'a') return { dtype: 'string', bytesPer: width };
  const reason = kind === 'O' ? 'Python objects (pickled)' : `element type "${descr}"`;
  throw unsupportedError(`.npy: expected numbers, bool or strings, got ${reason}`, {
    place: { file },
    hint: 'save the array as a plain numeric type, e.g. array.astype("float32")',
  });
}

function checkSize({ dims }: NpyHeader, bytesPer: number, available: number, file: string): void {
  const expected = elementCount(dims) * bytesPer;
  if (expected > available)
    throw formatError(`.npy data of (${dims.join(', ')}): expected ${expected} bytes, got ${available}`, {
      place: { file },
      hint: 'the file is cut off; write or download it again',
    });
}

function decode({ descr, fortran, dims }: NpyHeader, dtype: DType, bytesPer: number, body: Uint8Array): Tensor {
  const count = elementCount(dims);
  let bytes = body.subarray(0, count * bytesPer);
  const unit = descr.includes('U') ? 4 : DTYPES[dtype].kind === 'complex' ? bytesPer / 2 : dtype === 'string' ? 1 : bytesPer;
  if (descr[0] === '>' && unit > 1) bytes = swapBytes(bytes, unit);
  if (fortran && dims.length > 1) bytes = toRowMajor(bytes, dims, bytesPer);
  if (dtype !== 'string') return new Tensor(dtype, dims, bytes);
  const strings = Array.from({ length: count }, (_, i) => bytes.subarray(i * bytesPer, (i + 1) * bytesPer));
  return Tensor.strings(
    dims,
    strings.map((s) => (descr.includes('U') ? decodeUtf32(s) : s.subarray(0, lastNonZero(s)))),
  );
}

function lastNonZero(bytes: Uint8Array): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return end;
}

function decodeUtf32(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = '';
  for (let i = 0; i + 4 <= bytes.length; i += 4) {
    const code = view.getUint32(i, true);
    if (code === 0) continue;
    text += code <= 0x10ffff ? String.fromCodePoint(code) : '\ufffd';
  }
  return text;
}

function swapBytes(bytes: Uint8Array, unit: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  for (let i = 0; i < bytes.length; i += unit) for (let k = 0; k < unit; k++) out[i + k] = bytes[i + unit - 1 - k]!;
  return out;
}

/** Fortran order (first axis fastest) to C order (last axis fastest). */
function toRowMajor(bytes: Uint8Array, dims: readonly number[], width: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  const strides: number[] = [];
  let stride = 1;
  for (const d of dims) {
    strides.push(stride);
    stride *= d;
  }
  const index = dims.map(() => 0);
  for (let at = 0, from = 0; at < stride; at++) {
    for (let k = 0; k < width; k++) out[at * width + k] = bytes[from * width + k]!;
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      index[axis]!++;
      from += strides[axis]!;
      if (index[axis]! < dims[axis]!) break;
      from -= strides[axis]! * dims[axis]!;
      index[axis] = 0;
    }
  }
  return out;
}

/** A tensor as an .npy file (version 1, C order, little-endian). Throws E_UNSUPPORTED for types NumPy lacks (bfloat16, float8, packed integers). */
export function encodeNpy(tensor: Tensor): Uint8Array {
  const code = Object.entries(NUMERIC).find(([, dtype]) => dtype === tensor.dtype)?.[0];
  let descr: string;
  let body: Uint8Array;
  if (tensor.dtype === 'string') {
    const points = tensor.stringValues().map((s) => Array.from(s, (c) => c.codePointAt(0)!));
    const width = Math.max(1, ...points.map((p) => p.length));
    const words = new Uint32Array(points.length * width);
    for (const [i, p] of points.entries()) words.set(p, i * width);
    body = new Uint8Array(words.buffer);
    descr = `<U${width}`;
  } else if (code === undefined) {
    throw unsupportedError(`.npy cannot hold ${tensor.dtype}: expected a numeric type of NumPy or strings`);
  } else {
    descr = `${DTYPES[tensor.dtype].bits > 8 ? '<' : '|'}${code}`;
    body = tensor.bytes();
  }
  const shape = tensor.dims.length === 1 ? `(${tensor.dims[0]},)` : `(${tensor.dims.join(', ')})`;
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`;
  // The elements start at a multiple of 64 bytes, so that readers can map them.
  const padding = (64 - ((10 + text.length + 1) % 64)) % 64;
  const header = new TextEncoder().encode(`${text}${' '.repeat(padding)}\n`);
  const out = new Uint8Array(10 + header.length + body.length);
  out.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  out.set(header, 10);
  out.set(body, 10 + header.length);
  return out;
}
