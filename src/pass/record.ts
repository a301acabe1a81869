// What one run of Pare did and found: the single source of the terminal table, `--json` and the HTML report. Plain JSON throughout.
import type { Finding, LayerEvidence } from '../analysis/causes/cause.js';
import type { OutputDifference } from '../analysis/difference.js';
import type { LayerComparison } from '../analysis/layers.js';
import type { TensorStats } from '../analysis/tensor-stats.js';
import type { RuleHits, Skipped, Warning } from './define.js';

/** Size of a model at one moment. */
export interface ModelFacts {
  readonly path?: string | undefined;
  /** Bytes as written (model file plus external data). */
  readonly bytes: number;
  readonly params: number;
  /** Multiply-accumulates of one sample; null where shapes do not allow it. */
  readonly macs: number | null;
  readonly nodes: number;
  /** SHA-256 of the file, in hex. */
  readonly sha256?: string | undefined;
  readonly opset: number;
  /** Bytes of constants by element type. */
  readonly bytesByDtype: Readonly<Record<string, number>>;
}

export interface PassRecord {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly ms: number;
  readonly changed: boolean;
  readonly before: { readonly nodes: number; readonly bytes: number; readonly params: number };
  readonly after: { readonly nodes: number; readonly bytes: number; readonly params: number };
  readonly rules: readonly RuleHits[];
  readonly skipped: readonly Skipped[];
  readonly warnings: readonly Warning[];
  readonly notes: Readonly<Record<string, unknown>>;
}

export interface Quality {
  readonly metric: string;
  readonly before: number;
  readonly after: number;
  readonly samples: number;
  /** False where a lower value is better (losses, kl). */
  readonly higherIsBetter: boolean;
  /** True where the data is random: the figure then means little. */
  readonly synthetic: boolean;
}

export interface LatencyPair {
  /** Median of the original, ms per run. */
  readonly before_ms: number;
  readonly after_ms: number;
  /** Median over pairs of neighbouring runs of after by before: steadier than the quotient of the medians. */
  readonly ratio: number;
  readonly before_p95_ms: number;
  readonly after_p95_ms: number;
  readonly runs: number;
  readonly batch: number;
  readonly threads: number | null;
  readonly engine: string;
}

/** What a search for the layers to keep at higher precision found (`--max-drop`). */
export interface PrecisionSearch {
  readonly mode: string;
  readonly metric: string;
  /** Score of the original. */
  readonly before: number;
  /** Largest drop allowed. */
  readonly target: number;
  readonly met: boolean;
  /** What kept layers are stored and computed in. */
  readonly keptAs: 'float' | 'int8';
  /** Layers that were candidates; 0 where nothing had to be kept. */
  readonly layers: number;
  readonly kept: readonly { readonly name: string; readonly op: string; readonly bytes: number }[];
  /** Trials whose quality was measured on all samples. */
  readonly evaluations: number;
  /** Samples of each trial. */
  readonly samples: number;
  /** Runs of single samples in the sensitivity session: one for each change and sample. */
  readonly sensitivityRuns: number;
  /** Every trial, by number of layers kept; `keptBytes` are those of the kept weights in float, `bytes` those of all constants. */
  readonly curve: readonly {
    readonly kept: number;
    readonly keptBytes: number;
    readonly quality: number;
    readonly drop: number;
    readonly bytes: number;
  }[];
}

/** One way to quantize that `--optimize latency` timed. */
export interface LatencyCandidate {
  readonly name: string;
  readonly ms: number;
  /** Time by the float model's, timed in turn. */
  readonly ratio: number;
  /** Layers left float. */
  readonly kept: number;
}

export interface LatencyPlan {
  readonly chosen: string;
  /** Names of the nodes left float by the chosen one. */
  readonly kept: readonly string[];
  readonly candidates: readonly LatencyCandidate[];
  /** How far the ratio of two sessions of the original lies from 1, timed among the candidates. */
  readonly noise: number;
}

/** How the passes of a run were chosen by trying them. */
export interface PlanRecord {
  readonly search?: PrecisionSearch | undefined;
  readonly latency?: LatencyPlan | undefined;
  readonly auto?: AutoPlan | undefined;
}

/** What `--auto` tried: the causes found, and for each fix whether it helped. */
export interface AutoPlan {
  readonly metric: string;
  /** Drop without any fix. */
  readonly before: number;
  readonly after: number;
  readonly tried: readonly { readonly cause: string; readonly flags: string; readonly drop: number; readonly kept: boolean }[];
}

/** A node that takes longer in the result than in the original. */
export interface SlowerNode {
  readonly node: string;
  readonly op: string;
  readonly before_ms: number;
  readonly after_ms: number;
  readonly reason: string;
}

/** What the runtime made of the quantized nodes of a model. */
export interface Fusion {
  /** Nodes that run in integers, by kernel. */
  readonly kernels: Readonly<Record<string, number>>;
  /** Nodes between quantized values that the runtime computes in float all the same. */
  readonly unfused: readonly UnfusedNode[];
}

export interface UnfusedNode {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

/** Where and why a quantized model loses, layer by layer. */
export interface Explanation {
  readonly layers: readonly LayerEvidence[];
  readonly findings: readonly Finding[];
}

export interface RunRecord {
  readonly tool: { readonly name: 'pare'; readonly version: string };
  readonly command: string;
  /** The command line or recipe that repeats the run. */
  readonly recipe: readonly { readonly pass: string; readonly options: Readonly<Record<string, unknown>> }[];
  readonly seed: number;
  readonly engine: string;
  readonly input: ModelFacts;
  readonly output: ModelFacts | null;
  /** `false` where verification was skipped. */
  readonly verified: boolean;
  readonly quality: Quality | null;
  readonly outputs: readonly OutputDifference[];
  readonly latency: LatencyPair | null;
  readonly passes: readonly PassRecord[];
  readonly warnings: readonly Warning[];
  readonly layers: readonly LayerComparison[];
  /** Layers in detail and named causes of error, where they were asked for. */
  readonly explanation?: Explanation;
  /** Statistics of the constants before and after, largest first (capped). */
  readonly tensors: { readonly before: readonly TensorStats[]; readonly after: readonly TensorStats[] };
  /** Where the result is slower than the original: the nodes responsible, worst first. */
  readonly slower?: readonly SlowerNode[];
  /** What the runtime fused with its Q/DQ and what not, where the result has any and the engine has a profiler. */
  readonly fusion?: Fusion;
  /** How the passes were chosen, where they were chosen by trying. */
  readonly plan?: PlanRecord;
  /** Wall time of the whole run in ms. */
  readonly ms: number;
}
