// Students by name: every k-th layer of the teacher (the initialization of DistilBERT, Sanh et al. 2019), a narrower teacher, the teacher's network with new
// weights (born again, Furlanello et al. 2018), a preset, or any file. The student takes the teacher's inputs and answers its output: it can replace it.
import { keepLayers, repeatedLayers } from '../analysis/repeated-layers.js';
import { inferShapes } from '../analysis/shapes.js';
import { trainableParameters } from '../analysis/trainable.js';
import { usageError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { cloneModel } from '../ir/walk.js';
import { PRESETS } from '../nn/presets/index.js';
import type { PassContext } from '../pass/define.js';
import { pruneModel, structuredOptions } from '../passes/prune/structured/index.js';
import { Rng } from '../util/rng.js';
import { adoptInterface } from './interface.js';

export interface StudentSources {
  readonly ctx: PassContext;
  readonly seed: number;
  /** Reads a model file, where the student is one. */
  readonly open?: ((path: string) => Promise<Model>) | undefined;
}

/** Student, and which of the teacher's layers its own are, where it was made by leaving some out. */
export interface MadeStudent {
  readonly model: Model;
  readonly layers?: readonly number[] | undefined;
}

export const STUDENT_FORMS = 'copy:K, layers:0,2,..., narrow:R, self, PRESET[:option=value...] or FILE.onnx';

/**
 * The student that `spec` names: `copy:2` keeps every second layer, `layers:0,3` those, `narrow:0.5` half of the units of each group, `self` has new weights,
 * `mlp:sizes=784,75,25,10` is a preset with options. Throws E_USAGE for anything else, or a student that cannot take the teacher's place.
 */
export async function makeStudent(spec: string, teacher: Model, sources: StudentSources): Promise<MadeStudent> {
  const at = spec.indexOf(':');
  const kind = at < 0 ? spec : spec.slice(0, at);
  const rest = at < 0 ? '' : spec.slice(at + 1);
  switch (kind) {
    case 'copy':
      return everyLayer(teacher, wholeNumbers(spec, rest, 1)[0]!);
    case 'layers':
      return withLayers(teacher, wholeNumbers(spec, rest));
    case 'narrow':
      return { model: await narrower(teacher, fraction(spec, rest), sources.ctx) };
    case 'self':
      return { model: bornAgain(teacher, sources.seed) };
    default: {
      if (Object.hasOwn(PRESETS, kind)) {
        const model = PRESETS[kind]!.create(presetOptions(kind, rest), { seed: sources.seed });
        return { model: adoptInterface(model, teacher) };
      }
      if (!/\.onnx$/i.test(spec) || !sources.open) {
        throw usageError(`student: expected ${STUDENT_FORMS}, got "${spec}"`, { hint: `presets are ${Object.keys(PRESETS).join(', ')}` });
      }
      return { model: adoptInterface(await sources.open(spec), teacher) };
    }
  }
}

function wholeNumbers(spec: string, text: string, count?: number): number[] {
  const numbers = text.split(',').map((t) => (/^\d+$/.test(t.trim()) ? Number(t) : Number.NaN));
  if (numbers.some(Number.isNaN) || (count !== undefined && (numbers.length !== count || numbers[0]! < 1)))
    throw usageError(`student: expected ${count === undefined ? 'layers:0,2' : 'copy:2'} with whole numbers, got "${spec}"`);
  return numbers;
}

function fraction(spec: string, text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (value > 0 && value < 1) return value;
  throw usageError(`student: expected narrow:R with R above 0 and below 1, got "${spec}"`);
}

function everyLayer(teacher: Model, step: number): MadeStudent {
  const typed = cloneModel(teacher);
  inferShapes(typed);
  const count = repeatedLayers(typed).length;
  return withLayers(
    teacher,
    Array.from({ length: Math.ceil(Math.max(1, count) / step) }, (_, i) => i * step),
  );
}

function withLayers(teacher: Model, layers: readonly number[]): MadeStudent {
  const model = cloneModel(teacher);
  inferShapes(model);
  keepLayers(model, layers);
  inferShapes(model);
  return { model, layers };
}

async function narrower(teacher: Model, width: number, ctx: PassContext): Promise<Model> {
  const model = cloneModel(teacher);
  await pruneModel(model, structuredOptions.parse({ sparsity: 1 - width }), ctx);
  return model;
}

/** New weights of the spread that the trained ones of the layer have, for matrices and filters; what has one axis (biases, scales) starts where it is neutral. */
export function bornAgain(teacher: Model, seed: number): Model {
  const model = cloneModel(teacher);
  const rng = new Rng(seed).fork('student');
  for (const value of trainableParameters(model)) {
    const { dims, size } = value.initializer!;
    const own = rng.fork(value.name);
    const first = dims.length > 1 ? dims.slice(1).reduce((n, d) => n * d, 1) : size;
    const fanIn = dims.length === 2 ? dims[0]! : first;
    const scale = 1 / Math.sqrt(Math.max(1, fanIn));
    // A vector that scales (LayerNormalization, BatchNormalization) has a mean near 1, one that shifts near 0.
    const neutral = dims.length > 1 ? undefined : Math.abs(meanOf(value.initializer!)) > 0.5 ? 1 : 0;
    const values = Float32Array.from({ length: size }, () => neutral ?? scale * own.normal());
    value.initializer = Tensor.of('float', dims, values);
  }
  return model;
}

function meanOf(tensor: Tensor): number {
  const values = tensor.floats();
  return values.reduce((sum, v) => sum + v, 0) / Math.max(1, values.length);
}

/** `sizes=784,75,25,10:activation=tanh` as options of a preset: numbers, lists of numbers, words. */
function presetOptions(preset: string, text: string): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  for (const part of text.split(':').filter((p) => p !== '')) {
    const [name, value, ...more] = part.split('=');
    if (!name || value === undefined || more.length > 0)
      throw usageError(`student ${preset}: expected option=value, joined by colons, got "${part}"`, {
        hint: 'mlp:sizes=784,75,25,10:activation=tanh',
      });
    const parts = value.split(',').map((v) => (v.trim() !== '' && Number.isFinite(Number(v)) ? Number(v) : v));
    options[name] = parts.length > 1 ? parts : parts[0];
  }
  return options;
}
