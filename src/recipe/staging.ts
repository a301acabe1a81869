// How a result reaches its place: written beside the target under another name, verified there, then moved. The file system is injected.
import type { Model } from '../ir/model.js';
import type { ModelSource } from '../runtime/engine.js';

/** A model that is written but not yet in its place. */
export interface StagedModel {
  /** Bytes of all its files. */
  readonly bytes: number;
  /** Names of its files, the model first. */
  readonly files: readonly string[];
  /** SHA-256 of the model file, in hex. */
  readonly sha256: string;
  /** Path under which it waits, and path it is meant for: errors must speak of the latter. */
  readonly paths: { readonly staged: string; readonly target: string };
  /** What an engine loads: the very files that will be delivered. */
  readonly source: ModelSource;
  /** The model as it reads back from those files, weights unread. */
  open(): Promise<Model>;
  /** Moves the files to their place, the model last, and answers their paths. */
  commit(): Promise<readonly string[]>;
  /** Removes them. */
  discard(): Promise<void>;
}

/** Writes a model for verification. */
export type Stage = (model: Model) => Promise<StagedModel>;

/** The model a run starts from. */
export interface InputModel {
  readonly model: Model;
  readonly path: string;
  /** Bytes of the model file and its external data. */
  readonly bytes: number;
  /** SHA-256 of the model file in hex; a promise, as hashing goes on while the passes run. */
  readonly sha256: string | Promise<string>;
  readonly source: ModelSource;
}
