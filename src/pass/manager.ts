// Runs passes one after another on a copy of the model, verifies the graph after each, and records what each one did.

import { constantBytes, countNodes, countParams } from '../analysis/facts.js';
import type { Dataset } from '../data/dataset.js';
import { abortError, PareError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { verifyModel } from '../ir/verify.js';
import { cloneModel } from '../ir/walk.js';
import type { Engine } from '../runtime/engine.js';
import { Rng } from '../util/rng.js';
import type { BoundPass, PassContext, Progress, RuleHits, Skipped, Warning } from './define.js';
import type { PassRecord } from './record.js';

/** What the passes of one run share. */
export interface PassEnvironment {
  readonly engine: Engine;
  readonly seed?: number;
  readonly data?: Dataset | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Called at named moments inside passes; see `PassContext.stage`. */
  readonly onStage?: ((name: string, model: Model) => void) | undefined;
}

export interface PassResult {
  /** The edited copy; the model passed in is unchanged. */
  readonly model: Model;
  readonly records: readonly PassRecord[];
  readonly changed: boolean;
}

/**
 * Runs `passes` in order on a clone of `model`. Errors get the name of the pass as their place.
 * Throws E_ABORTED when the signal aborts, and whatever a pass throws; E_GRAPH or E_BUG when a pass leaves an invalid graph.
 */
export async function runPasses(model: Model, passes: readonly BoundPass[], env: PassEnvironment): Promise<PassResult> {
  const copy = cloneModel(model);
  const rng = new Rng(env.seed ?? 0);
  const records: PassRecord[] = [];
  for (const pass of passes) {
    try {
      records.push(await runOne(copy, pass, env, rng.fork(pass.name)));
    } catch (error) {
      throw error instanceof PareError ? error.at({ pass: pass.name }) : error;
    }
  }
  return { model: copy, records, changed: records.some((r) => r.changed) };
}

async function runOne(model: Model, pass: BoundPass, env: PassEnvironment, rng: Rng): Promise<PassRecord> {
  const rules: RuleHits[] = [];
  const skipped: Skipped[] = [];
  const warnings: Warning[] = [];
  const notes: Record<string, unknown> = {};
  const checkAborted = () => {
    if (env.signal?.aborted) throw abortError();
  };
  const context: PassContext = {
    engine: env.engine,
    rng,
    data: env.data,
    threads: env.threads,
    signal: env.signal,
    checkAborted,
    progress: (p) => env.onProgress?.(p),
    warn: (w) => warnings.push(w),
    skip: (s) => skipped.push(s),
    rules: (r) => rules.push(...r),
    stage: (name, at) => env.onStage?.(name, at),
    note: (key, value) => {
      notes[key] = value;
    },
  };
  checkAborted();
  const before = sizeOf(model);
  const start = performance.now();
  const changed = await pass.run(model, context);
  const ms = performance.now() - start;
  verifyModel(model);
  return { name: pass.name, options: pass.options, ms, changed, before, after: sizeOf(model), rules, skipped, warnings, notes };
}

function sizeOf(model: Model) {
  return { nodes: countNodes(model), bytes: constantBytes(model), params: countParams(model) };
}
