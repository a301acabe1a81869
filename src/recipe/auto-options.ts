// `quantize --auto`: quantize, look for causes of the error, apply the options that mend them, and keep those that help.
import type { Finding, Fix } from '../analysis/causes/cause.js';
import { cloneModel } from '../ir/walk.js';
import type { BoundPass, Pass } from '../pass/define.js';
import type { AutoPlan } from '../pass/record.js';
import { explainLayers } from './explain.js';
import type { QuantizeMode } from './mixed-precision.js';
import type { Trial, Trials } from './trials.js';

export interface AutoRequest {
  readonly trials: Trials;
  readonly mode: QuantizeMode;
  readonly pass: Pass;
  readonly options: Readonly<Record<string, unknown>>;
  /** The passes that also store in 8 bits what stays float, where the mode has them: the fix of layers without a quantized form. */
  readonly storing?: ((options: Readonly<Record<string, unknown>>) => readonly BoundPass[]) | undefined;
}

export interface AutoOptions {
  readonly options: Record<string, unknown>;
  /** True where the passes of `storing` are to be used. */
  readonly store: boolean;
  readonly plan: AutoPlan;
}

/** Fixes that are tried, those of the most severe cause first. */
const MAX_FIXES = 6;
/** A fix is kept where it takes away at least this share of the drop. */
const HELPS = 0.02;
/** Storing what stayed float may cost this share of the drop: it is done for the bytes. */
const STORING_COSTS = 0.25;

/** Options with the fixes that helped. */
export async function autoOptions(request: AutoRequest): Promise<AutoOptions> {
  const { trials, pass, options } = request;
  const { engine, model, validation, session, shapes, signal } = trials.options;
  let float = model;
  // Repairs move factors between layers: inner values are compared with those of the repaired float model.
  const first = await trials.run([pass(options)], (name, at) => {
    if (name === 'float') float = cloneModel(at);
  });
  const { findings } = await explainLayers(float, first.model, { engine, data: validation, session, shapes, signal });
  let best: Record<string, unknown> = { ...options };
  let trial = first;
  const tried: AutoPlan['tried'][number][] = [];
  const seen = new Set<string>();
  for (const finding of findings) {
    // The alternatives of one cause in turn, until one helps.
    for (const fix of alternatives(pass, finding.fixes, best)) {
      if (tried.length >= MAX_FIXES) break;
      if (seen.has(fixFlag(fix))) continue;
      seen.add(fixFlag(fix));
      const next = withFix(best, fix);
      trials.options.onProgress?.({ fraction: undefined, label: `trying ${fixFlag(fix)} against ${finding.cause}` });
      const after = await trials.run([pass(next)]);
      const kept = after.drop < trial.drop - HELPS * Math.abs(trial.drop);
      tried.push({ cause: finding.cause, flags: fixFlag(fix), drop: after.drop, kept });
      if (!kept) continue;
      best = next;
      trial = after;
      break;
    }
  }
  const stored = await storedRest(request, findings, best, trial);
  if (stored) tried.push(stored);
  const store = stored?.kept === true;
  return { options: best, store, plan: { metric: trials.metric.name, before: first.drop, after: store ? stored.drop : trial.drop, tried } };
}

/** Layers without a quantized form: their weights in 8 bits, kept where that makes the model smaller and loses next to nothing. */
async function storedRest(
  { trials, storing }: AutoRequest,
  findings: readonly Finding[],
  options: Readonly<Record<string, unknown>>,
  before: Trial,
): Promise<AutoPlan['tried'][number] | undefined> {
  const finding = findings.find((f) => f.fixes.some((fix) => fix.option === 'optimize'));
  if (!finding || !storing) return undefined;
  trials.options.onProgress?.({ fraction: undefined, label: `trying ${fixFlag(STORE)} against ${finding.cause}` });
  const after = await trials.run(storing(options));
  const kept = after.bytes < before.bytes && after.drop <= before.drop + STORING_COSTS * Math.abs(before.drop);
  return { cause: finding.cause, flags: fixFlag(STORE), drop: after.drop, kept };
}

const STORE: Fix = { option: 'optimize', value: 'size' };

function withFix(options: Readonly<Record<string, unknown>>, { option, value }: Fix): Record<string, unknown> {
  const merged = Array.isArray(value) ? [...((options[option] as unknown[] | undefined) ?? []), ...value] : value;
  return { ...options, [option]: merged };
}

/** The alternatives that the pass accepts and that change anything. */
function alternatives(pass: Pass, fixes: readonly Fix[], options: Readonly<Record<string, unknown>>): Fix[] {
  const schema = pass.definition.options;
  const now = JSON.stringify(schema.safeParse(options).data);
  return fixes.filter((fix) => {
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
