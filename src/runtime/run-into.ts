// Results written into memory of the caller, with or without the help of the session.
import { shapeError } from '../errors.js';
import type { Tensor } from '../ir/tensor.js';
import type { Session } from './engine.js';

/** Runs the session and leaves its results in the tensors of `into`: directly where the session can, else by a copy. */
export async function runInto(
  session: Session,
  feeds: Readonly<Record<string, Tensor>>,
  into: Readonly<Record<string, Tensor>>,
): Promise<void> {
  if (session.runInto) await session.runInto(feeds, into);
  else copyResults(await session.run(feeds, Object.keys(into)), into);
}

/** Copies results by name. Throws E_SHAPE where sizes differ. */
export function copyResults(results: Readonly<Record<string, Tensor>>, into: Readonly<Record<string, Tensor>>): void {
  for (const [name, target] of Object.entries(into)) {
    const bytes = results[name]!.bytes();
    if (bytes.byteLength !== target.byteLength)
      throw shapeError(`output "${name}": expected ${target.byteLength} bytes, got ${bytes.byteLength}`, { place: { value: name } });
    target.bytes().set(bytes);
  }
}
