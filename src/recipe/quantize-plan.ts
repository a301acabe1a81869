// From what the user asks of quantization (a largest drop; latency, size or quality first; causes mended by themselves) to the passes that give it,
// chosen by trials. The steps build on each other: fixes of causes first, then speed, then layers to keep for the drop allowed.
import type { Dataset } from '../data/dataset.js';
import type { Metric } from '../data/metric.js';
import { usageError } from '../errors.js';
import type { Model } from '../ir/model.js';
import type { BoundPass, Pass, Progress } from '../pass/define.js';
import type { AutoPlan, LatencyPlan, PlanRecord, PrecisionSearch } from '../pass/record.js';
import { storeWeights } from '../passes/quantize/stored.js';
import type { Engine, SessionOptions } from '../runtime/engine.js';
import { autoOptions } from './auto-options.js';
import { planLatency } from './latency-plan.js';
import { mixedPrecision, type QuantizeMode } from './mixed-precision.js';
import { Trials } from './trials.js';

export interface QuantizePlanOptions {
  readonly engine: Engine;
  readonly model: Model;
  readonly mode: QuantizeMode;
  readonly pass: Pass;
  readonly options: Readonly<Record<string, unknown>>;
  readonly optimize?: 'latency' | 'size' | 'quality' | undefined;
  readonly auto?: boolean | undefined;
  /** Largest drop; layers are kept at higher precision where quantizing all of them loses more. */
  readonly maxDrop?: number | undefined;
  readonly maxTrials?: number | undefined;
  readonly weigh?: 'bytes' | 'macs' | undefined;
  readonly data?: Dataset | undefined;
  readonly validation?: Dataset | undefined;
  readonly metric?: Metric | undefined;
  readonly limit?: number | undefined;
  readonly batch?: number | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly seed?: number | undefined;
  readonly session?: SessionOptions | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

export interface QuantizePlan {
  readonly passes: readonly BoundPass[];
  readonly record: PlanRecord;
}

/** With `--optimize quality` and no drop given: this share of what quantizing everything loses. */
const QUALITY_SHARE = 0.1;
/** Weights from this many elements are stored in 8 bits with `--optimize size` where they would stay float. */
const SMALL_WEIGHT = 64;

/** Chooses the passes. Throws E_USAGE where trials are asked for without data to judge them, E_QUALITY where a drop cannot be held. */
export async function planQuantization(o: QuantizePlanOptions): Promise<QuantizePlan> {
  let options = o.options;
  let auto: AutoPlan | undefined;
  let latency: LatencyPlan | undefined;
  let search: PrecisionSearch | undefined;
  let passes: readonly BoundPass[] = plainPasses(o, options);
  if (o.auto) {
    const trials = await openTrials(o, '--auto');
    try {
      // Mode weights stores everything already; with another goal named, that one decides.
      const storing = o.mode === 'weights' || o.optimize !== undefined ? undefined : storingPasses;
      const found = await autoOptions({ trials, mode: o.mode, pass: o.pass, options, storing: storing?.bind(null, o) });
      options = found.options;
      auto = found.plan;
      passes = found.store ? storingPasses(o, options) : plainPasses(o, options);
    } finally {
      await trials.release();
    }
  }
  if (o.optimize === 'latency') {
    const planned = await planLatency({ ...o, options, onProgress: (label) => o.onProgress?.({ fraction: undefined, label }) });
    passes = planned.passes;
    latency = planned.plan;
    const exclude = [...((options.exclude as string[] | undefined) ?? []), ...latency.kept];
    if (latency.kept.length > 0) options = { ...options, exclude };
  }
  if (o.maxDrop !== undefined || o.optimize === 'quality') {
    const trials = await openTrials(o, o.maxDrop !== undefined ? '--max-drop' : '--optimize quality');
    try {
      const good = latency && o.maxDrop !== undefined && (await trials.run(passes)).drop <= o.maxDrop;
      if (!good) {
        const maxDrop = o.maxDrop ?? ((full: number) => full * QUALITY_SHARE);
        const found = await mixedPrecision({
          trials,
          mode: o.mode,
          pass: o.pass,
          options,
          maxDrop,
          maxTrials: o.maxTrials,
          weigh: o.weigh,
        });
        search = found.search;
        if (search.kept.length > 0 || !latency) passes = found.passes;
      }
    } finally {
      await trials.release();
    }
  }
  return { passes, record: { ...(auto ? { auto } : {}), ...(latency ? { latency } : {}), ...(search ? { search } : {}) } };
}

function plainPasses(o: QuantizePlanOptions, options: Readonly<Record<string, unknown>>): BoundPass[] {
  return o.optimize === 'size' && o.mode !== 'weights' ? storingPasses(o, options) : [o.pass(options)];
}

/** What stays float is stored in 8 bits. */
function storingPasses(o: QuantizePlanOptions, options: Readonly<Record<string, unknown>>): BoundPass[] {
  const exclude = (options.exclude as string[] | undefined) ?? [];
  return [o.pass(options), storeWeights({ exclude, minElements: SMALL_WEIGHT, simplify: false })];
}

function openTrials(o: QuantizePlanOptions, flag: string): Promise<Trials> {
  if (!o.validation) throw usageError(`${flag} tries settings on data: it cannot go with --no-verify`);
  const { engine, model, data, validation, metric, limit, batch, shapes, seed, session, signal, onProgress } = o;
  return Trials.open({ engine, model, data, validation, metric, limit, batch, shapes, seed, session, signal, onProgress });
}
