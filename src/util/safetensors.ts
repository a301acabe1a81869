// Float arrays by name in one file, in the layout of safetensors: 8 bytes with the length of a JSON header, the header (type, shape and place of each array,
// texts under __metadata__), then the arrays. F32 only; arrays of other types are refused with their name.
import { formatError } from '../errors.js';

export interface SafeTensors {
  readonly metadata: Readonly<Record<string, string>>;
  readonly arrays: ReadonlyMap<string, { readonly dims: readonly number[]; readonly data: Float32Array }>;
}

interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

export function encodeSafeTensors({ metadata, arrays }: SafeTensors): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let at = 0;
  for (const [name, { dims, data }] of arrays) {
    header[name] = { dtype: 'F32', shape: dims, data_offsets: [at, at + data.byteLength] } satisfies HeaderEntry;
    at += data.byteLength;
  }
  const raw = new TextEncoder().encode(JSON.stringify(header));
  const length = Math.ceil(raw.length / 8) * 8;
  const bytes = new Uint8Array(8 + length + at).fill(0x20, 8, 8 + length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(raw, 8);
  at = 8 + length;
  for (const { data } of arrays.values()) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return bytes;
}

/** `what` is named in errors. Throws E_FORMAT for other files, other types, and arrays that reach beyond the file. */
export function decodeSafeTensors(bytes: Uint8Array, what = 'safetensors'): SafeTensors {
  const fail = (message: string) => formatError(`${what}: ${message}`, { hint: 'expected a file in the safetensors layout, whole' });
  if (bytes.length < 8) throw fail(`expected at least 8 bytes, got ${bytes.length}`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (!(length <= bytes.length - 8)) throw fail(`expected a header of ${length} bytes, got ${bytes.length - 8}`);
  let header: Record<string, HeaderEntry> & { __metadata__?: Record<string, string> };
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, 8 + length)));
  } catch {
    throw fail('expected a header in JSON, got something else');
  }
  const { __metadata__: metadata = {}, ...entries } = header;
  const body = bytes.subarray(8 + length);
  const arrays = new Map<string, { dims: readonly number[]; data: Float32Array }>();
  for (const [name, { dtype, shape, data_offsets: place }] of Object.entries(entries)) {
    const [from = 0, to = -1] = place ?? [];
    const size = shape.reduce((a, b) => a * b, 1) * 4;
    if (dtype !== 'F32') throw fail(`array "${name}": expected F32, got ${dtype}`);
    if (!(to - from === size && from >= 0 && to <= body.length))
      throw fail(`array "${name}": expected ${size} bytes, got ${from} to ${to} of ${body.length}`);
    // A copy of its own, so that it is aligned. Not slice(): that of a Buffer is a view.
    const own = new Uint8Array(size);
    own.set(body.subarray(from, to));
    arrays.set(name, { dims: shape, data: new Float32Array(own.buffer) });
  }
  return { metadata, arrays };
}
