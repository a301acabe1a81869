// From annotation and statistics to the scale and zero point of every activation: fixed ranges of bounded functions, shared ranges of values that
// are only moved, ranges of constants, and measured ones for the rest.
import type { Value } from '../ir/graph.js';
import { type AffineParameters, affineParameters, rangesOf } from './affine.js';
import { type Annotation, FIXED_RANGES, quantFactsOf } from './annotate.js';
import type { Measurement } from './calibrate.js';
import { layoutOf } from './layout.js';
import type { Observer, ObserverOptions, Range } from './observers.js';
import { PER_TENSOR } from './scheme.js';
import type { Statistics } from './statistics.js';

/** Operands whose ranges differ by more than this factor keep scales of their own where the runtime can rescale. */
const SHARE_UP_TO = 1.5;

/** Groups of values by union-find. */
class Groups {
  readonly #parent = new Map<Value, Value>();

  root(value: Value): Value {
    let at = value;
    for (let up = this.#parent.get(at); up; up = this.#parent.get(at)) at = up;
    return at;
  }

  join(a: Value, b: Value): void {
    const from = this.root(a);
    const to = this.root(b);
    if (from !== to) this.#parent.set(from, to);
  }
}

function fixedRange(value: Value): Range | undefined {
  const producer = value.producer;
  return producer && producer.domain === '' ? FIXED_RANGES[producer.opType] : undefined;
}

/** Values whose ranges must be measured: all but those that are fixed or only moved from others. */
export function measurementsOf(annotation: Annotation): Measurement[] {
  const moved = new Set<Value>();
  for (const node of annotation.others) {
    const facts = quantFactsOf(node);
    if (facts !== 'none' && facts.kind === 'passthrough' && node.opType !== 'Concat') for (const v of node.outputs) if (v) moved.add(v);
  }
  return annotation.activations
    .filter((v) => !moved.has(v) && !fixedRange(v))
    .map((value) => ({ value, lowerIsZero: value.producer?.domain === '' && value.producer.opType === 'Relu' }));
}

export interface ActivationParameters {
  readonly parameters: ReadonlyMap<Value, AffineParameters>;
  readonly ranges: ReadonlyMap<Value, Range>;
  /** Values that were infinite or not a number on some batch. */
  readonly nonFinite: readonly Value[];
}

/** Scales of all annotated activations and constants. */
export function activationParameters(
  annotation: Annotation,
  statistics: Statistics,
  observer: Observer,
  options: ObserverOptions,
): ActivationParameters {
  const own = new Map<Value, Range>();
  const nonFinite: Value[] = [];
  for (const value of annotation.activations) {
    const fixed = fixedRange(value);
    const seen = statistics.get(value.name);
    if (seen && seen.nonFinite > 0) nonFinite.push(value);
    if (fixed) own.set(value, fixed);
    else if (seen) own.set(value, observer.range(seen, options));
  }
  for (const value of annotation.constants) {
    const data = value.initializer!.floats();
    const { min, max } = rangesOf(data, layoutOf([data.length], PER_TENSOR));
    own.set(value, { min: min[0]!, max: max[0]! });
  }

  const groups = new Groups();
  for (const set of annotation.shared) for (const v of set) groups.join(v, set[0]!);
  const rangeOfGroup = groupRanges(groups, own);
  for (const set of annotation.preferShared) {
    const members = set.map((v) => rangeOfGroup.get(groups.root(v))).filter((r): r is Range => r !== undefined);
    if (members.length > 0 && similar(members)) for (const v of set) groups.join(v, set[0]!);
  }
  const final = groupRanges(groups, own);

  const parameters = new Map<Value, AffineParameters>();
  const ranges = new Map<Value, Range>();
  const byRoot = new Map<Value, AffineParameters>();
  for (const value of [...annotation.activations, ...annotation.constants]) {
    const root = groups.root(value);
    const range = final.get(root) ?? { min: 0, max: 0 };
    let p = byRoot.get(root);
    if (!p) {
      p = affineParameters({ min: Float32Array.of(range.min), max: Float32Array.of(range.max) }, options.scheme);
      byRoot.set(root, p);
    }
    parameters.set(value, p);
    ranges.set(value, range);
  }
  return { parameters, ranges, nonFinite };
}

function groupRanges(groups: Groups, own: ReadonlyMap<Value, Range>): Map<Value, Range> {
  const joined = new Map<Value, Range>();
  for (const [value, range] of own) {
    const root = groups.root(value);
    const so = joined.get(root);
    joined.set(root, so ? { min: Math.min(so.min, range.min), max: Math.max(so.max, range.max) } : range);
  }
  return joined;
}

/** Widths (with 0 inside) within a factor of each other. */
function similar(ranges: readonly Range[]): boolean {
  const widths = ranges.map((r) => Math.max(r.max, 0) - Math.min(r.min, 0));
  return Math.max(...widths) <= SHARE_UP_TO * Math.min(...widths);
}
