// Every model through every command: it verifies, or says clearly why not (exit 2), and the two foreign models are refused.
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { check, figure, wanted } from '../lib/bars.js';
import { pare, WORK } from '../lib/pare.js';
import { pathOf, REFUSED, sharedModels } from './shared-models.js';

const MODES = {
  static: ['--mode', 'static', '--data', 'random:8'],
  dynamic: ['--mode', 'dynamic'],
  'weights-8': ['--mode', 'weights', '--bits', '8'],
  'weights-4': ['--mode', 'weights', '--bits', '4'],
  fp16: ['--mode', 'fp16'],
  bf16: ['--mode', 'bf16'],
};
const NOT_APPLICABLE = 2;

export function modelBars() {
  if (wanted('models-profile')) {
    const failures = sharedModels().flatMap((m) => {
      const run = pare('profile', pathOf(m), '--json');
      const warned = run.status === 0 && JSON.parse(run.stdout).warnings.length > 0;
      if (run.status !== 0) return [`${m}: exit ${run.status}: ${run.stderr.trim()}`];
      return m.startsWith('supres/') && !warned ? [`${m}: expected a warning`] : [];
    });
    check('models-profile', failures);
  }
  if (wanted('models-simplify')) {
    const failures = sharedModels().flatMap((m) => outcome(m, ['simplify', pathOf(m)], 'simplify'));
    check('models-simplify', failures);
  }
  for (const [mode, flags] of Object.entries(MODES)) {
    const name = `models-${mode}`;
    if (!wanted(name)) continue;
    const failures = sharedModels().flatMap((m) => outcome(m, ['quantize', pathOf(m), ...flags], mode));
    check(name, failures);
  }
}

/** Failures of one command on one model; prints what it answered. */
function outcome(model, args, label) {
  const out = join(WORK, 'out.onnx');
  rmSync(out, { force: true });
  const run = pare(...args, '-o', out, '--json');
  const refused = REFUSED.has(model);
  const expected = refused ? [NOT_APPLICABLE] : label === 'simplify' ? [0] : [0, NOT_APPLICABLE];
  const problem = expected.includes(run.status) ? [] : [`${model}: exit ${run.status}: ${run.stderr.trim().slice(0, 400)}`];
  if (run.status !== 0 && existsSync(out)) problem.push(`${model}: wrote a file although it failed`);
  if (run.status === 0) {
    const r = JSON.parse(run.stdout);
    figure(
      `  ${label} ${model}`,
      `${r.input.bytes} to ${r.output.bytes} bytes, ${r.quality.metric} ${r.quality.after.toPrecision(4)}, nodes ${r.input.nodes} to ${r.output.nodes}`,
    );
  } else figure(`  ${label} ${model}`, `exit ${run.status}: ${run.stderr.split('\n').find((line) => line.startsWith('E_'))}`);
  return problem;
}
