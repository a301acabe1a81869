// What a cause of lost accuracy looks like: evidence about one layer goes in, a finding with its numbers and the option that mends it comes out.
// One file a cause; the list is in causes.ts. Evidence is gathered elsewhere (src/recipe/explain.ts): the rules here only judge numbers.

/** Everything measured about one layer, or one operator without a weight that reads rounded values, of a float model and its quantized form. SQNRs in dB; null where not applicable or not readable. */
export interface LayerEvidence {
  readonly node: string;
  readonly op: string;
  /** Name of the layer's result. */
  readonly output: string;
  /** How the quantized model computes it; `unmatched` where its product was not found there. */
  readonly kind: 'integer' | 'stored' | 'half' | 'float' | 'unmatched';
  /** Of the layer's input against the original's: the error that arrives. */
  readonly errorIn: number | null;
  /** Of its result against the original's: the error that leaves. */
  readonly errorOut: number | null;
  /** Of its result where it is fed the original's input: its own contribution; -1000 where that makes infinite values. */
  readonly own: number | null;
  /** The same with the runtime's optimizations off, where products are not summed in 8-bit instructions. */
  readonly ownExact: number | null;
  readonly weight: WeightEvidence | null;
  readonly input: InputEvidence | null;
  /** Elements of the result that are infinite or not a number in the quantized model only. */
  readonly nonFinite: number;
  /** Largest magnitude of the original's result. */
  readonly outputPeak: number;
  /** Constants that one shared weight of the original has become in the quantized model, where there are several. */
  readonly split: {
    readonly weight: string;
    readonly names: readonly string[];
    readonly bytes: number;
    readonly bytesBefore: number;
  } | null;
}

export interface WeightEvidence {
  readonly name: string;
  readonly sqnr: number | null;
  /** One scale for the whole tensor. */
  readonly perTensor: boolean;
  /** Largest over median magnitude of the output channels, and which channel is largest. */
  readonly spread: number;
  readonly largest: number;
  readonly depthwise: boolean;
}

export interface InputEvidence {
  readonly name: string;
  /** Of the input as the layer reads it, its own rounding alone. */
  readonly sqnr: number | null;
  /** Range that the quantized model's scale covers; null where it is chosen at run time or there is none. */
  readonly range: readonly [number, number] | null;
  /** What the original's input was on the data: extremes, and the magnitudes that 99.9 % and half stay below. */
  readonly min: number;
  readonly max: number;
  readonly common: number;
  readonly typical: number;
  /** Largest over median peak of the input's channels, and which channel peaks. */
  readonly channelSpread: number;
  readonly channel: number;
}

/** An option that mends a cause, by its name in the pass's schema (or `optimize`, which is the command's own). Alternatives are tried in turn. */
export interface Fix {
  readonly option: string;
  readonly value: unknown;
}

export interface Finding {
  readonly cause: string;
  readonly node: string;
  /** The numbers, in words. */
  readonly evidence: string;
  /** What to do, where no option does it. */
  readonly advice?: string;
  readonly fixes: readonly Fix[];
  /** Decibels that the layer's own error falls short of a good layer: sorts the findings. */
  readonly severity: number;
}

export interface CauseRule {
  /** Kebab-case name, as it is shown. */
  readonly name: string;
  readonly summary: string;
  /** The finding, or undefined where the layer shows nothing of it. */
  find(layer: LayerEvidence): Omit<Finding, 'cause' | 'node' | 'severity'> | undefined;
}

/** A number for a sentence. */
export function figure(x: number): string {
  return Number.isFinite(x) ? String(Number(x.toPrecision(3))) : String(x);
}
