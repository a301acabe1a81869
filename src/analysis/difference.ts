// How far the outputs of one model are from another's, accumulated batch by batch in constant memory.
// SQNR = 10 log10(sum a^2 / sum (a-b)^2) in dB; cosine over all elements; KL(a || b) in nats over the last axis.

import { areProbabilities, argmax, logProbabilities } from '../data/metric.js';
import { shapeError } from '../errors.js';
import { DTYPES } from '../ir/dtype.js';
import type { Tensor } from '../ir/tensor.js';

/** How far one output (or inner value) of a model moved. */
export interface OutputDifference {
  readonly name: string;
  readonly maxAbs: number;
  readonly meanAbs: number;
  /** Cosine similarity over all elements; 1 where both are zero. */
  readonly cosine: number;
  /** Signal-to-quantization-noise ratio in dB; Infinity is written as 1000 so that it survives JSON. */
  readonly sqnr: number;
  /** Mean Kullback-Leibler divergence per row where the output is a distribution or logits over classes; null otherwise. */
  readonly kl: number | null;
  /** Elements that are infinite or NaN in one model only. They are left out of the other figures. */
  readonly nonFinite: number;
  /** Fraction of rows with the same argmax over the last axis; null where the output has no class axis. */
  readonly agreement: number | null;
}

/** SQNR that stands for "no difference at all". */
export const PERFECT_SQNR = 1000;

/** Fewest classes on the last axis of a rank-3 output for it to count as logits over tokens rather than, say, box corners. */
const MIN_TOKEN_CLASSES = 32;

/** Accumulates the difference of one output over batches. */
export class DifferenceAccumulator {
  readonly name: string;
  #count = 0;
  #maxAbs = 0;
  #sumAbs = 0;
  #aa = 0;
  #bb = 0;
  #ab = 0;
  #noise = 0;
  #broken = 0;
  #rows = 0;
  #agreeing = 0;
  #kl = 0;
  #hasClasses = true;
  /** Whether rows are distributions already; decided on the first batch. */
  #probabilities: boolean | undefined;

  constructor(name: string) {
    this.name = name;
  }

  /** Adds one batch: `a` is the reference. Throws E_SHAPE where the shapes differ. */
  add(a: Tensor, b: Tensor): void {
    if (a.dims.join() !== b.dims.join())
      throw shapeError(`output "${this.name}": expected [${a.dims}] as the original gives, got [${b.dims}]`);
    if (a.dtype === 'string') {
      this.#addStrings(a, b);
      return;
    }
    if (DTYPES[a.dtype].kind === 'complex') throw shapeError(`output "${this.name}": expected real numbers, got ${a.dtype}`);
    const x = a.floats();
    const y = b.floats();
    for (let i = 0; i < x.length; i++) {
      const p = x[i]!;
      const q = y[i]!;
      // Equal infinities (masked attention logits) and NaN in both are no difference.
      const d = Math.abs(p - q);
      if (!Number.isFinite(d)) {
        if (p !== q && !(Number.isNaN(p) && Number.isNaN(q))) this.#broken++;
        continue;
      }
      if (d > this.#maxAbs) this.#maxAbs = d;
      this.#sumAbs += d;
      this.#noise += d * d;
      this.#aa += p * p;
      this.#bb += q * q;
      this.#ab += p * q;
    }
    this.#count += x.length;
    this.#addClasses(a.dims, DTYPES[a.dtype].kind === 'float' ? x : null, y);
  }

  #addStrings(a: Tensor, b: Tensor): void {
    const x = a.stringValues();
    const y = b.stringValues();
    this.#rows += x.length;
    this.#count += x.length;
    x.forEach((s, i) => {
      if (s === y[i]) this.#agreeing++;
    });
    this.#kl = Number.NaN;
  }

  #addClasses(dims: readonly number[], x: Float32Array | null, y: Float32Array): void {
    const classes = dims.at(-1) ?? 0;
    const isClassAxis = x !== null && classes >= 2 && (dims.length === 2 || (dims.length === 3 && classes >= MIN_TOKEN_CLASSES));
    if (!isClassAxis) {
      this.#hasClasses = false;
      return;
    }
    this.#probabilities ??= areProbabilities(x, classes);
    const p = new Float64Array(classes);
    const q = new Float64Array(classes);
    for (let start = 0; start < x.length; start += classes) {
      this.#rows++;
      if (argmax(x, start, classes) === argmax(y, start, classes)) this.#agreeing++;
      logProbabilities(x, start, classes, this.#probabilities, p);
      logProbabilities(y, start, classes, this.#probabilities, q);
      for (let k = 0; k < classes; k++) {
        const weight = Math.exp(p[k]!);
        if (weight > 0) this.#kl += weight * (p[k]! - q[k]!);
      }
    }
  }

  result(): OutputDifference {
    const aa = this.#aa;
    const bb = this.#bb;
    const cosine = aa === 0 && bb === 0 ? 1 : aa === 0 || bb === 0 ? 0 : this.#ab / Math.sqrt(aa * bb);
    const sqnr = this.#noise === 0 ? PERFECT_SQNR : aa === 0 ? -PERFECT_SQNR : 10 * Math.log10(aa / this.#noise);
    const classes = this.#hasClasses && this.#rows > 0;
    return {
      name: this.name,
      maxAbs: this.#maxAbs,
      meanAbs: this.#count === 0 ? 0 : this.#sumAbs / this.#count,
      // Rounding can push the ratio a hair beyond 1.
      cosine: Math.min(1, Math.max(-1, cosine)),
      sqnr,
      nonFinite: this.#broken,
      kl: classes && Number.isFinite(this.#kl) ? Math.max(0, this.#kl / this.#rows) : null,
      agreement: classes ? this.#agreeing / this.#rows : null,
    };
  }
}
