// The student as it is trained with features: a copy whose outputs also hold the features that are compared, behind a learned projection where their width is
// not the teacher's (FitNets: a linear map of the channels). The projections are parameters of the copy only; what the student keeps has none.
import { inferShapes } from '../analysis/shapes.js';
import { shapeError, usageError } from '../errors.js';
import { Builder } from '../ir/builder.js';
import type { Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { formatShape, type Shape, tensorType } from '../ir/type.js';
import { cloneModel } from '../ir/walk.js';
import { Rng } from '../util/rng.js';
import type { FeatureLoss, FeatureTerm } from './distillation.js';

/** A value of the student, one of the teacher, and how they are compared. */
export interface FeaturePair {
  readonly student: string;
  readonly teacher: string;
  readonly loss: FeatureLoss;
  /** Default 1. */
  readonly weight?: number | undefined;
}

export interface StudentWithFeatures {
  /** To be trained; its further parameters are the projections. */
  readonly model: Model;
  readonly terms: readonly FeatureTerm[];
  /** Names of the parameters that are not the student's. */
  readonly projections: readonly string[];
}

/** Losses that compare element by element: widths must agree. */
const ELEMENTWISE: ReadonlySet<FeatureLoss> = new Set(['mse', 'cosine']);

/** Throws E_USAGE for values that are not there, E_SHAPE where no projection of channels makes them comparable. */
export function withFeatures(student: Model, teacher: Model, pairs: readonly FeaturePair[], seed = 0): StudentWithFeatures {
  const model = cloneModel(student);
  inferShapes(model);
  const typed = cloneModel(teacher);
  inferShapes(typed);
  const rng = new Rng(seed).fork('projections');
  const projections: string[] = [];
  const b = new Builder(model.graph, { prefix: 'distillation/' });
  const terms = pairs.map(({ student: own, teacher: other, loss, weight = 1 }): FeatureTerm => {
    if (!(weight > 0)) throw usageError(`weight of ${loss}: expected a number above 0, got ${weight}`);
    const value = findValue(model, own, 'student');
    const wanted = findValue(typed, other, 'teacher');
    const width = ELEMENTWISE.has(loss) ? widthToProject(value, wanted) : undefined;
    const output = width === undefined ? value : project(b, value, width, rng.fork(own), projections);
    if (!model.graph.outputs.includes(output)) model.graph.addOutput(output);
    return { loss, student: output.name, teacher: other, weight };
  });
  return { model, terms, projections };
}

function findValue(model: Model, name: string, whose: string): Value {
  const value = model.graph.ownValue(name);
  if (value?.producer) return value;
  const near = model.graph.nodes.flatMap((n) => n.outputs.flatMap((o) => (o ? [o.name] : [])));
  throw usageError(`features: expected a value inside the ${whose}, got "${name}"`, {
    hint: `for example ${near.slice(-5).join(', ')}`,
  });
}

const shapeOf = (value: Value): Shape => {
  const shape = tensorTypeOf(value)?.shape;
  if (shape) return shape;
  throw shapeError(`feature "${value.name}": expected a tensor of known rank, got an unknown one`, { place: { value: value.name } });
};

/** Maps [n, c, h, w] have their channels on axis 1, all others on the last. */
const channelAxis = (rank: number): number => (rank === 4 ? 1 : rank - 1);

/** Channels of the teacher and the student, where they differ. */
function widthToProject(student: Value, teacher: Value): { from: number; to: number; rank: number } | undefined {
  const [s, t] = [shapeOf(student), shapeOf(teacher)];
  const axis = channelAxis(s.length);
  const [from, to] = [s[axis], t[axis]];
  const differ = s.some((d, i) => i !== axis && typeof d === 'number' && typeof t[i] === 'number' && d !== t[i]);
  if (s.length !== t.length || s.length < 2 || typeof from !== 'number' || typeof to !== 'number' || differ) {
    throw shapeError(
      `features "${student.name}" and "${teacher.name}": expected shapes alike but for the channels, got ${formatShape(s)} and ${formatShape(t)}`,
      {
        hint: 'relational and attention-transfer compare features of different widths without a projection',
      },
    );
  }
  return from === to ? undefined : { from, to, rank: s.length };
}

/** The channels through a matrix with entries of variance 1 / from; no bias. */
function project(
  b: Builder,
  value: Value,
  { from, to, rank }: { from: number; to: number; rank: number },
  rng: Rng,
  names: string[],
): Value {
  const matrix = Float32Array.from({ length: from * to }, () => rng.normal() / Math.sqrt(from));
  const dims = rank === 4 ? [to, from, 1, 1] : [from, to];
  const weight = b.constant(`projection_${names.length}`, Tensor.of('float', dims, matrix));
  names.push(weight.name);
  const projected = b.op(rank === 4 ? 'Conv' : 'MatMul', [value, weight]);
  const axis = channelAxis(rank);
  projected.type = tensorType(
    'float',
    shapeOf(value).map((d, i) => (i === axis ? to : d)),
  );
  return projected;
}
