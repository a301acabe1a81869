// What Pare asks of ONNX Runtime. The engine is injected: onnxruntime-node in src/node, onnxruntime-web in src/web; the core never imports either.

import type { DType } from '../ir/dtype.js';
import type { ByteSource } from '../ir/source.js';
import type { Tensor } from '../ir/tensor.js';

/**
 * A model as the engine takes it: encoded bytes with the external files they refer to, or a file on disk.
 * `folder` is where the external locations that are not in `externalData` are looked for (engines with a file system only).
 */
export type ModelSource =
  | {
      readonly bytes: Uint8Array;
      readonly externalData?: readonly { readonly path: string; readonly data: ByteSource }[];
      readonly folder?: string | undefined;
    }
  | { readonly path: string };

/** Where an engine finds weights on disk: one place per source, relative to `folder`. */
export interface Placement {
  readonly folder: string;
  readonly locations: readonly { readonly location: string; readonly offset: number }[];
  /** Removes what was written for it; call it when no session needs the files any more. */
  release(): Promise<void>;
}

export type Device = 'cpu' | 'cuda' | 'webgpu' | 'wasm';

export interface SessionOptions {
  /** Threads inside one operator; the engine's default where not set. */
  readonly threads?: number | undefined;
  readonly device?: Device | undefined;
  /** How far the engine rewrites the graph before running it; default 'all'. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'all' | undefined;
  /** Collect a per-node profile, read by `endProfiling` (Node only). */
  readonly profile?: boolean | undefined;
  /** Low peak memory before speed: no arena, no weight prepacking. */
  readonly frugal?: boolean | undefined;
  /**
   * Session configuration entries passed through to ONNX Runtime, by full name or nested: `{ 'session.set_denormal_as_zero': '1' }` (which
   * only the first session of a process decides).
   */
  readonly extra?: Readonly<Record<string, unknown>> | undefined;
}

export interface ValueInfo {
  readonly name: string;
  readonly dtype: DType | undefined;
  /** Numbers, symbol names, or null; undefined where the engine does not say. */
  readonly shape: readonly (number | string | null)[] | undefined;
}

/** Time of one node over a profiled session, in milliseconds summed over its runs. */
export interface NodeTime {
  readonly node: string;
  readonly opType: string;
  readonly provider: string;
  readonly ms: number;
  readonly runs: number;
  /** Element type of the first operand, in the engine's words (`float`, `uint8`); absent where the profile does not say. */
  readonly inputType?: string | undefined;
}

export interface Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** Runs once. `fetches` limits which outputs are computed and answered; all where omitted. Results are the caller's own. */
  run(feeds: Readonly<Record<string, Tensor>>, fetches?: readonly string[]): Promise<Record<string, Tensor>>;
  /**
   * Runs once and writes results into the memory of the tensors in `into`, by output name; their types and dimensions must be the outputs' own. No other
   * outputs are computed. In Node without a copy. Feeds may be the same tensors at every call, over memory that changes.
   */
  runInto?(feeds: Readonly<Record<string, Tensor>>, into: Readonly<Record<string, Tensor>>): Promise<void>;
  /** Per-node times; throws E_UNSUPPORTED where the engine has none. */
  endProfiling(): Promise<NodeTime[]>;
  release(): Promise<void>;
}

export interface Engine {
  /** Package and version, as reports show it: `onnxruntime-node 1.30.0`. */
  readonly name: string;
  readonly version: string;
  readonly devices: readonly Device[];
  /** True for element types whose tensors can cross the border between JavaScript and the engine. */
  canExchange(dtype: DType): boolean;
  /** Throws E_RUNTIME with the engine's own words where the model does not load. */
  load(source: ModelSource, options?: SessionOptions): Promise<Session>;
  /** Channels that blocked convolutions (`com.microsoft.nchwc`) take side by side on this processor; undefined, or no such function, where there are none. */
  channelBlock?(): Promise<number | undefined>;
  /** Makes bytes readable from disk by the engine itself, so that a session maps them instead of copying; absent where there is no disk. */
  placeOnDisk?(sources: readonly ByteSource[]): Promise<Placement>;
  /** Memory in use by the process or page in bytes, where it can be known. */
  memoryBytes?(): number;
}
