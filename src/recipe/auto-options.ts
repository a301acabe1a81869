// `quantize --auto`: quantize, look for causes of the error, apply the options that mend them, and keep those that help.
import type { Fix } from '../analysis/causes/cause.js';
import { cloneModel } from '../ir/walk.js';
import type { Pass } from '../pass/define.js';
import type { AutoPlan } from '../pass/record.js';
import { explainLayers } from './explain.js';
import type { QuantizeMode } from './mixed-precision.js';
import type { Trials } from './trials.js';

export interface AutoRequest {
  readonly trials: Trials;
  readonly mode: QuantizeMode;
  readonly pass: Pass;
  readonly options: Readonly<Record<string, unknown>>;
}

/** Causes whose fixes are tried, most severe first. */
const MAX_FIXES = 4;
/** A fix is kept where it takes away at least this share of the drop. */
const HELPS = 0.02;

/** Options with the fixes that helped. */
export async function autoOptions({ trials, pass, options }: AutoRequest): Promise<{ options: Record<string, unknown>; plan: AutoPlan }> {
  const { engine, model, validation, session, shapes, signal } = trials.options;
  let float = model;
  // Repairs move factors between layers: inner values are compared with those of the repaired float model.
  const first = await trials.run([pass(options)], (name, at) => {
    if (name === 'float') float = cloneModel(at);
  });
  const { findings } = await explainLayers(float, first.model, { engine, data: validation, session, shapes, signal });
  let best: Record<string, unknown> = { ...options };
  let drop = first.drop;
  const tried: AutoPlan['tried'][number][] = [];
  const seen = new Set<string>();
  for (const finding of findings) {
    if (tried.length >= MAX_FIXES) break;
    const fix = offered(pass, finding.fixes, best);
    if (!fix || seen.has(fixFlag(fix))) continue;
    seen.add(fixFlag(fix));
    const next = withFix(best, fix);
    trials.options.onProgress?.({ fraction: undefined, label: `trying ${fixFlag(fix)} against ${finding.cause}` });
    const trial = await trials.run([pass(next)]);
    const kept = trial.drop < drop - HELPS * Math.abs(drop);
    tried.push({ cause: finding.cause, flags: fixFlag(fix), drop: trial.drop, kept });
    if (kept) {
      best = next;
      drop = trial.drop;
    }
  }
  return { options: best, plan: { metric: trials.metric.name, before: first.drop, after: drop, tried } };
}

function withFix(options: Readonly<Record<string, unknown>>, { option, value }: Fix): Record<string, unknown> {
  const merged = Array.isArray(value) ? [...((options[option] as unknown[] | undefined) ?? []), ...value] : value;
  return { ...options, [option]: merged };
}

/** The first alternative that the pass accepts and that changes anything. */
export function offered(pass: Pass, fixes: readonly Fix[], options: Readonly<Record<string, unknown>> = {}): Fix | undefined {
  const schema = pass.definition.options;
  const now = JSON.stringify(schema.safeParse(options).data);
  return fixes.find((fix) => {
    if (!(fix.option in schema.shape)) return false;
    const after = schema.safeParse(withFix(options, fix));
    return after.success && JSON.stringify(after.data) !== now;
  });
}

/** The fix as it is written on the command line. */
export function fixFlag({ option, value }: Fix): string {
  const flag = option.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
  if (value === true) return `--${flag}`;
  if (value === false) return `--no-${flag}`;
  return `--${flag} ${Array.isArray(value) ? value.join(',') : String(value)}`;
}
