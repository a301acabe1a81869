// The state of a training to and from a checkpoint, and the check that it is a state of this training.
import { dataError } from '../errors.js';
import { type CheckpointArray, decodeCheckpoint, encodeCheckpoint } from './checkpoint.js';
import type { Optimizer, OptimizerState } from './optimizers/optimizer.js';
import type { Progression, ProgressionState } from './progression.js';
import type { CurvePoint, TrainOptions } from './trainer-options.js';

/** What must be equal for the continuation to be the same training. Number of epochs and schedule may differ: that is another end, not another past. */
interface Fingerprint {
  readonly seed: number;
  readonly batchSize: number;
  readonly accumulate: number;
  readonly objective: string;
  readonly batchNorm: string;
  readonly samples: number;
  readonly identity: string | null;
}

interface StoredState {
  readonly fingerprint: Fingerprint;
  readonly optimizer: Omit<OptimizerState, 'arrays'>;
  readonly progression: ProgressionState;
}

type Arrays = ReadonlyMap<string, Float32Array>;
type Masks = ReadonlyMap<string, Uint8Array>;

function fingerprintOf(o: TrainOptions): Fingerprint {
  return {
    seed: o.seed,
    batchSize: o.batchSize,
    accumulate: o.accumulate ?? 1,
    objective: o.objective.name,
    batchNorm: o.batchNorm ?? 'batch',
    samples: o.data.size,
    identity: o.identity ?? null,
  };
}

const CURVE_COLUMNS = 4;

export function storeTraining(
  options: TrainOptions,
  optimizer: Optimizer,
  states: Arrays,
  progression: Progression,
  masks: Masks,
): Uint8Array {
  const { arrays: slots, ...rest } = optimizer.state();
  const arrays = new Map<string, CheckpointArray>();
  const add = (name: string, data: CheckpointArray['data'], dims: readonly number[] = [data.length]) => arrays.set(name, { dims, data });
  for (const [name, data] of slots) add(`optimizer/${name}`, data);
  for (const [name, data] of states) add(`state/${name}`, data);
  for (const [name, data] of masks) add(`mask/${name}`, data);
  for (const [name, data] of progression.best?.weights ?? []) add(`best/${name}`, data);
  const { curve } = progression;
  const rows = Float64Array.from(curve.flatMap((p) => [p.step, p.epoch, p.loss, p.lr]));
  add('curve', rows, [curve.length, CURVE_COLUMNS]);
  const state: StoredState = { fingerprint: fingerprintOf(options), optimizer: rest, progression: progression.state() };
  return encodeCheckpoint({ state, arrays });
}

/** Throws E_FORMAT for a damaged checkpoint, E_DATA for one of another training, saying what differs. */
export function restoreTraining(
  bytes: Uint8Array,
  options: TrainOptions,
  optimizer: Optimizer,
  states: Arrays,
  progression: Progression,
  masks: Masks,
): void {
  const checkpoint = decodeCheckpoint(bytes);
  const stored = checkpoint.state as StoredState;
  requireSame(fingerprintOf(options), stored.fingerprint);
  const under = (prefix: string): Map<string, Float32Array> =>
    new Map(
      [...checkpoint.arrays]
        .filter(([name]) => name.startsWith(prefix))
        .map(([name, { data }]) => [name.slice(prefix.length), data as Float32Array]),
    );
  optimizer.restore({ ...stored.optimizer, arrays: under('optimizer/') });
  const parameters = [...under('optimizer/parameters/').keys()];
  if (parameters.length !== optimizer.parameters.size)
    throw dataError(`checkpoint: expected ${optimizer.parameters.size} trained parameters, got ${parameters.length}`, {
      hint: 'other parameters were frozen: give the same patterns',
    });
  fill('running statistics', states, under('state/'));
  for (const [name, mask] of masks) {
    const array = checkpoint.arrays.get(`mask/${name}`)?.data;
    if (array?.length !== mask.length) throw dataError(`checkpoint: expected a mask of ${mask.length} elements for "${name}", got none`);
    mask.set(array as Uint8Array);
  }
  const rows = checkpoint.arrays.get('curve')?.data ?? new Float64Array();
  const curve = Array.from({ length: rows.length / CURVE_COLUMNS }, (_, i): CurvePoint => {
    const at = (column: number) => rows[i * CURVE_COLUMNS + column]!;
    return { step: at(0), epoch: at(1), loss: at(2), lr: at(3) };
  });
  const { best } = stored.progression;
  progression.restore(stored.progression, curve, best ? { ...best, weights: under('best/') } : undefined);
}

function fill(what: string, into: Arrays, from: Arrays): void {
  for (const [name, array] of into) {
    const stored = from.get(name);
    if (stored?.length !== array.length)
      throw dataError(`checkpoint: expected ${array.length} ${what} "${name}", got ${stored?.length ?? 'none'}`);
    array.set(stored);
  }
}

function requireSame(mine: Fingerprint, theirs: Fingerprint): void {
  const keys = Object.keys(mine) as (keyof Fingerprint)[];
  const different = keys.filter((key) => mine[key] !== theirs[key]);
  if (different.length === 0) return;
  const list = different.map((key) =>
    key === 'identity' ? 'another model file or other options' : `${key}: expected ${mine[key]}, got ${theirs[key]}`,
  );
  throw dataError(`checkpoint of another training: ${list.join('; ')}`, {
    hint: 'give the options the training was begun with, or start anew without --resume',
  });
}
