// What `compare --per-layer` says of a collapse: magika quantized as common converters do it (one scale from the least to the largest value for every
// value and constant of the usual operators, norms and activations included) against Pare's static mode on the same calibration data.
import { join } from 'node:path';
import { cloneModel } from '../../dist/index.js';
import { nodeEngine, openDataset, readModel, writeModel } from '../../dist/node/index.js';
import { atLeast, check, figure, wanted } from '../lib/bars.js';
import { pareJson, shared, WORK } from '../lib/pare.js';
import { quantizeEverything } from '../lib/quantize-everything.js';
import { magikaFiles } from './data.js';

export async function explainBars() {
  if (!wanted('explain-magika')) return;
  const path = shared('magika/standard_v1.onnx');
  const model = await readModel(path);
  const calibration = await magikaFiles.calibration();
  const test = await magikaFiles.test();
  const collapsed = join(WORK, 'magika-everything.onnx');
  const copy = cloneModel(model);
  const scales = await quantizeEverything(copy, await nodeEngine(), await openDataset(calibration, model, {}), 1000);
  await writeModel(copy, collapsed, { force: true });
  const r = pareJson('compare', path, collapsed, '--data', test, '--limit', '1000', '--per-layer');
  figure('  magika, everything rounded', `agreement ${(100 * r.quality.agreement).toFixed(1)} %, ${scales} scales`);
  for (const f of r.explanation.findings.slice(0, 4)) figure(`  cause ${f.cause}`, f.evidence);
  const [first] = r.explanation.findings;
  check('explain-magika-cause', first?.cause === 'range-collapse' ? [] : [`expected range-collapse first, got ${first?.cause}`]);
  const own = join(WORK, 'magika-static.onnx');
  pareJson('quantize', path, '-o', own, '--force', '--mode', 'static', '--data', calibration, '--no-verify', '--no-equalize');
  const good = pareJson('compare', path, own, '--data', test, '--limit', '1000', '--per-layer');
  const collapses = good.explanation.findings.filter((f) => f.cause === 'range-collapse').map((f) => `${f.node}: ${f.evidence}`);
  atLeast('explain-magika-static', 100 * good.quality.agreement, 97, '% agreement');
  check('explain-magika-static-cause', collapses);
}
