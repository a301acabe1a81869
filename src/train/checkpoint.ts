// A training's whole state in one file, in the layout of safetensors: 8 bytes with the length of a JSON header, the header (type, shape and place of each
// array, and the rest of the state as text under __metadata__), then the arrays. Reads what it writes; other writers' files lack the state.
import { formatError } from '../errors.js';
import { crc32 } from '../util/crc32.js';

export interface CheckpointArray {
  readonly dims: readonly number[];
  readonly data: Float32Array | Float64Array | Uint8Array;
}

export interface Checkpoint {
  /** Everything that is no array, as JSON can hold it. */
  readonly state: unknown;
  readonly arrays: ReadonlyMap<string, CheckpointArray>;
}

/** Where checkpoints are kept. `save` replaces the last one whole or not at all; `load` answers undefined where there is none. */
export interface CheckpointStore {
  save(bytes: Uint8Array): Promise<void>;
  load(): Promise<Uint8Array | undefined>;
}

const TYPES = { F64: Float64Array, F32: Float32Array, U8: Uint8Array } as const;

const typeOf = (data: CheckpointArray['data']): keyof typeof TYPES =>
  data instanceof Float64Array ? 'F64' : data instanceof Float32Array ? 'F32' : 'U8';
const FORMAT = 'pare-training-1';

interface HeaderEntry {
  readonly dtype: keyof typeof TYPES;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

export function encodeCheckpoint({ state, arrays }: Checkpoint): Uint8Array {
  const header: Record<string, unknown> = {};
  let at = 0;
  // Wide elements first, so that all arrays are aligned.
  const ordered = [...arrays].sort(([, a], [, b]) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT);
  for (const [name, { dims, data }] of ordered) {
    header[name] = { dtype: typeOf(data), shape: dims, data_offsets: [at, at + data.byteLength] } satisfies HeaderEntry;
    at += data.byteLength;
  }
  const body = new Uint8Array(at);
  at = 0;
  for (const [, { data }] of ordered) {
    body.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  const text = JSON.stringify({ __metadata__: { format: FORMAT, state: JSON.stringify(state), crc32: String(crc32(body)) }, ...header });
  const raw = new TextEncoder().encode(text);
  const length = Math.ceil(raw.length / 8) * 8;
  const bytes = new Uint8Array(8 + length + body.length).fill(0x20, 8, 8 + length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(raw, 8);
  bytes.set(body, 8 + length);
  return bytes;
}

/** Throws E_FORMAT for bytes that are no checkpoint, or a damaged one. */
export function decodeCheckpoint(bytes: Uint8Array): Checkpoint {
  const fail = (what: string) => formatError(`checkpoint: ${what}`, { hint: 'start without --resume to begin again' });
  if (bytes.length < 8) throw fail(`expected at least 8 bytes, got ${bytes.length}`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (!(length <= bytes.length - 8))
    throw fail(`expected a header of ${length} bytes, got ${bytes.length - 8}: truncated, or no checkpoint`);
  let header: Record<string, HeaderEntry> & { __metadata__?: Record<string, string> };
  let state: unknown;
  try {
    header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    state = JSON.parse(header.__metadata__!.state!);
  } catch {
    throw fail('expected a header with the state of a training, got something else');
  }
  const { __metadata__: metadata, ...entries } = header;
  if (metadata?.format !== FORMAT) throw fail(`expected format ${FORMAT}, got ${metadata?.format ?? 'none'}`);
  // A copy of its own, so that arrays are aligned. Not slice(): that of a Buffer is a view.
  const body = new Uint8Array(bytes.subarray(8 + length));
  if (String(crc32(body)) !== metadata.crc32) throw fail('expected the arrays as they were written, got others: damaged or truncated');
  const arrays = new Map<string, CheckpointArray>();
  for (const [name, { dtype, shape, data_offsets: at }] of Object.entries(entries)) {
    const View = TYPES[dtype];
    arrays.set(name, { dims: shape, data: new View(body.buffer, at[0], (at[1] - at[0]) / View.BYTES_PER_ELEMENT) });
  }
  return { state, arrays };
}
