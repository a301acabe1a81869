// Decode, encode, decode: equal models, and re-encoded bytes that run to identical outputs.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeModel, encodeModel, findFeeds, printModel } from '../../dist/index.js';
import { nodeEngine, readModel } from '../../dist/node/index.js';
import { check, wanted } from '../lib/bars.js';
import { WORK } from '../lib/pare.js';
import { pathOf, sharedModels } from './shared-models.js';

export async function roundTripBars() {
  if (!wanted('round-trip')) return;
  const engine = await nodeEngine();
  const failures = [];
  for (const name of sharedModels()) {
    const model = await readModel(pathOf(name));
    const { bytes } = encodeModel(model);
    const again = decodeModel(bytes);
    if (printModel(model) !== printModel(again)) failures.push(`${name}: models differ after a round trip`);
    if (Buffer.compare(encodeModel(again).bytes, bytes) !== 0) failures.push(`${name}: bytes differ after a second round trip`);
    const original = await engine.load({ path: pathOf(name) }).catch(() => null);
    // A custom domain no runtime has: there is nothing to run.
    if (!original) continue;
    const file = join(WORK, 'copy.onnx');
    writeFileSync(file, bytes);
    const copy = await engine.load({ path: file });
    const { feeds } = await findFeeds(original, model);
    const [x, y] = [await original.run(feeds), await copy.run(feeds)];
    for (const [output, tensor] of Object.entries(x)) {
      const same =
        tensor.dtype === 'string'
          ? tensor.stringValues().join() === y[output].stringValues().join()
          : Buffer.compare(tensor.bytes(), y[output].bytes()) === 0;
      if (!same) failures.push(`${name}: output ${output} differs`);
    }
    await original.release();
    await copy.release();
  }
  check('round-trip', failures);
}
