// A pass turns an ONNX graph into an ONNX graph. One descriptor of its options gives the TypeScript type, the command-line flags, the recipe schema and the docs row.
import type { z } from 'zod';
import type { Dataset } from '../data/dataset.js';
import { usageError } from '../errors.js';
import type { Model } from '../ir/model.js';
import type { Engine } from '../runtime/engine.js';
import type { Rng } from '../util/rng.js';

/** A remark for the user: what happened, where, and what to do about it. */
export interface Warning {
  readonly message: string;
  readonly node?: string | undefined;
  readonly fix?: string | undefined;
}

/** A node that the pass left as it was, and why. */
export interface Skipped {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

/** How often a rule fired, and the reasons why it nearly did. */
export interface RuleHits {
  readonly rule: string;
  readonly hits: number;
  readonly misses: readonly { readonly node: string; readonly reason: string }[];
}

export interface Progress {
  /** Fraction done in 0..1, or undefined where unknown. */
  readonly fraction: number | undefined;
  readonly label: string;
  /** Figures of the moment, shown behind the label. */
  readonly detail?: string;
}

/** What a pass may use. Optional parts are there when the pass `needs` them. */
export interface PassContext {
  readonly engine: Engine;
  readonly rng: Rng;
  readonly data: Dataset | undefined;
  readonly threads: number | undefined;
  readonly signal: AbortSignal | undefined;
  /** Throws E_ABORTED once the caller has aborted; call it in every long loop. */
  checkAborted(): void;
  progress(progress: Progress): void;
  warn(warning: Warning): void;
  skip(skipped: Skipped): void;
  /** Records rule hits of a rewrite. */
  rules(hits: readonly RuleHits[]): void;
  /** Shows the model at a named moment inside a pass (`float`: prepared and repaired, not yet quantized) to who asked for it; clone it to keep it. */
  stage?(name: string, model: Model): void;
  /** Any other result for the report and `--json`: calibration ranges, rates, tables. Must be plain JSON. */
  note(key: string, value: unknown): void;
}

export interface PassDefinition<S extends z.ZodObject = z.ZodObject> {
  /** kebab-case, unique. */
  readonly name: string;
  /** One line for help and docs. */
  readonly summary: string;
  /** Options as a zod object; each field with `.describe()`. */
  readonly options: S;
  readonly needs: { readonly data?: 'required' | 'optional'; readonly engine?: boolean };
  /** Edits the model in place (the manager owns the clone). Answers whether anything changed. */
  run(model: Model, options: z.output<S>, ctx: PassContext): Promise<boolean>;
}

/** A pass with its options filled in, ready for the manager. */
export interface BoundPass {
  readonly name: string;
  readonly summary: string;
  /** Options after defaults, as recorded in the recipe. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly needs: PassDefinition['needs'];
  run(model: Model, ctx: PassContext): Promise<boolean>;
}

/** A defined pass: call it with options to bind it. */
export interface Pass<S extends z.ZodObject = z.ZodObject> {
  (options?: z.input<S>): BoundPass;
  readonly definition: PassDefinition<S>;
}

export function definePass<S extends z.ZodObject>(definition: PassDefinition<S>): Pass<S> {
  const bind = (input?: z.input<S>): BoundPass => {
    const parsed = definition.options.safeParse(input ?? {});
    if (!parsed.success) throw usageError(`options of ${definition.name}: ${problems(parsed.error)}`);
    const options = parsed.data as z.output<S>;
    return {
      name: definition.name,
      summary: definition.summary,
      options: options as Record<string, unknown>,
      needs: definition.needs,
      run: (model, ctx) => definition.run(model, options, ctx),
    };
  };
  return Object.assign(bind, { definition });
}

/** Every problem with its field: `bits: expected one of 4, 8, got 5`. */
export function problems(error: z.ZodError): string {
  return error.issues.map((issue) => `${issue.path.join('.') || 'options'}: ${describeIssue(issue)}`).join('; ');
}

/** Zod says "Invalid input" of a union of constants: here the constants are named. */
function describeIssue(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'invalid_union') return issue.message;
  const values = issue.errors.flat().flatMap((e) => (e.code === 'invalid_value' ? e.values : []));
  return values.length > 0 ? `expected one of ${values.map(String).join(', ')}` : issue.message;
}
