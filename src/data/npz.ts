// NumPy's .npz: a zip of .npy arrays. Stored arrays stay on disk until their rows are read; deflated ones are inflated when the file is opened.
import { zipSync } from 'fflate';
import { formatError, limitError } from '../errors.js';
import { type ByteSource, MemorySource } from '../ir/source.js';
import type { Tensor } from '../ir/tensor.js';
import { encodeNpy, readNpySource } from './npy.js';
import { openZip } from './zip.js';

/** Arrays by name, in file order. Throws E_FORMAT for damaged files. */
export async function readNpz(source: ByteSource | Uint8Array, file = '.npz'): Promise<Map<string, Tensor>> {
  const zip = await openZip(source instanceof Uint8Array ? new MemorySource(source) : source, file);
  const arrays = new Map<string, Tensor>();
  for (const entry of zip.entries) {
    if (!entry.name.endsWith('.npy')) throw formatError(`.npz: expected .npy entries only, got "${entry.name}"`, { place: { file } });
    arrays.set(entry.name.slice(0, -4), await readNpySource(await zip.read(entry), `${file}:${entry.name}`));
  }
  return arrays;
}

/**
 * Arrays as an .npz file, stored or deflated; the same arrays give the same bytes. Throws E_LIMIT at 4 GB.
 * @example `await writeFile('digits.npz', encodeNpz({ Input3: images, labels }))`
 */
export function encodeNpz(arrays: Readonly<Record<string, Tensor>>, options: { compress?: boolean } = {}): Uint8Array {
  const entries = Object.fromEntries(Object.entries(arrays).map(([name, tensor]) => [`${name}.npy`, encodeNpy(tensor)]));
  const total = Object.values(entries).reduce((sum, e) => sum + e.byteLength, 0);
  if (total >= 0xffffffff) throw limitError(`.npz: expected less than 4 GB of arrays, got ${total} bytes`);
  // A fixed date: zip would otherwise note the time of writing.
  return zipSync(entries, { level: options.compress ? 6 : 0, mtime: new Date(1980, 0, 1) });
}
