// Which value of a student belongs to which of its teacher: by name where the user says so, else by structure. Repeating layers are mapped evenly, the last to the
// last (TinyBERT's uniform map); feature maps of pictures by their height and width; embeddings are what the last layer of weights reads.
import { type RepeatedLayer, repeatedLayers } from '../analysis/repeated-layers.js';
import { inferShapes } from '../analysis/shapes.js';
import { usageError } from '../errors.js';
import type { Node, Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { cloneModel } from '../ir/walk.js';
import type { FeaturePair } from '../train/student-features.js';
import { mainOutput } from './interface.js';

export interface FeatureChoices {
  /** `STUDENT=TEACHER` names of values, compared by their squares behind a projection. */
  readonly hints: readonly string[];
  /** `mse`: after every mapped layer; `cosine`: after the last. */
  readonly hidden: 'none' | 'mse' | 'cosine';
  /** `mse`: of every mapped layer; `kl`: of the last, with the relations among values where both have equally many heads. */
  readonly attention: 'none' | 'mse' | 'kl';
  readonly attentionTransfer: boolean;
  readonly relational: boolean;
  /** Of each kind, shared among its pairs. */
  readonly featureWeight: number;
}

/** The pairs. Throws E_USAGE where a kind was asked for that these networks have nothing for. */
export function featurePairs(student: Model, teacher: Model, choices: FeatureChoices): FeaturePair[] {
  const { featureWeight: weight } = choices;
  const [own, other] = [typed(student), typed(teacher)];
  const pairs: FeaturePair[] = choices.hints.map((text) => ({ ...named(text), loss: 'mse', weight }));
  const share = (kind: FeaturePair['loss'], found: readonly (readonly [Value, Value])[], what: string) => {
    if (found.length === 0)
      throw usageError(`${what}: expected ${what} in student and teacher, got none`, { hint: 'name values with --hints STUDENT=TEACHER' });
    for (const [s, t] of found) pairs.push({ student: s.name, teacher: t.name, loss: kind, weight: weight / found.length });
  };
  if (choices.hidden !== 'none' || choices.attention !== 'none') {
    const layers = mappedLayers(own, other);
    const last = layers.slice(-1);
    if (choices.hidden === 'mse')
      share(
        'mse',
        layers.map(([s, t]) => [s.output, t.output] as const),
        'repeating layers',
      );
    if (choices.hidden === 'cosine')
      share(
        'cosine',
        last.map(([s, t]) => [s.output, t.output] as const),
        'repeating layers',
      );
    if (choices.attention === 'mse')
      share(
        'attention-mse',
        layers.flatMap(([s, t]) => attentionOf(s, t)),
        'attention maps',
      );
    if (choices.attention === 'kl') {
      share(
        'attention-kl',
        last.flatMap(([s, t]) => attentionOf(s, t)),
        'attention maps',
      );
      const values = last.flatMap(([s, t]) => valuesOf(s, t));
      if (values.length > 0) share('value-relations', values, 'values of attention');
    }
  }
  if (choices.attentionTransfer) share('attention-transfer', samePlaces(own, other), 'feature maps of the same height and width');
  if (choices.relational) share('relational', [[embeddingOf(own), embeddingOf(other)]], 'embeddings');
  return pairs;
}

function typed(model: Model): Model {
  const copy = cloneModel(model);
  inferShapes(copy);
  return copy;
}

function named(text: string): { student: string; teacher: string } {
  // Names may hold "=" themselves only where both do not: the first one divides.
  const at = text.indexOf('=');
  const [student, teacher] = at < 0 ? [text, text] : [text.slice(0, at), text.slice(at + 1)];
  if (student && teacher) return { student, teacher };
  throw usageError(`hints: expected STUDENT=TEACHER, names of values, got "${text}"`);
}

/** Layer j of m of the student with layer ceil((j + 1) n / m) - 1 of the n of the teacher. */
function mappedLayers(student: Model, teacher: Model): (readonly [RepeatedLayer, RepeatedLayer])[] {
  const other = repeatedLayers(teacher);
  const own = layersLike(student, other);
  return own.map((layer, j) => [layer, other[Math.ceil(((j + 1) * other.length) / own.length) - 1]!] as const);
}

/** A student that has one layer left has nothing that repeats: its layer then is the one with names of the teacher's. */
function layersLike(student: Model, teacher: readonly RepeatedLayer[]): RepeatedLayer[] {
  const own = repeatedLayers(student);
  if (own.length > 0) return own;
  return teacher.flatMap((layer) => {
    const nodes = layer.nodes.map((n) => n.outputs[0] && student.graph.ownValue(n.outputs[0].name)?.producer).filter((n) => n != null);
    const output = student.graph.ownValue(layer.output.name);
    return output && nodes.length === layer.nodes.length ? [{ input: output, output, nodes }] : [];
  });
}

const rankOf = (value: Value | null | undefined): number | undefined => tensorTypeOf(value)?.shape?.length;

const softmaxes = (layer: RepeatedLayer): Node[] =>
  layer.nodes.filter((n) => n.opType === 'Softmax' && n.domain === '' && rankOf(n.output()) === 4);

function pairsOf<T>(a: readonly T[], b: readonly T[]): (readonly [T, T])[] {
  return a.length === b.length ? a.map((v, i) => [v, b[i]!] as const) : [];
}

function attentionOf(student: RepeatedLayer, teacher: RepeatedLayer) {
  return pairsOf(
    softmaxes(student).map((n) => n.output()),
    softmaxes(teacher).map((n) => n.output()),
  );
}

/** What the attention of a layer is multiplied with. */
function attended(layer: RepeatedLayer): Value[] {
  return softmaxes(layer).flatMap((softmax) => {
    let value = softmax.output();
    for (;;) {
      const [user] = value.users;
      if (user?.opType === 'MatMul' && user.input(0) === value && rankOf(user.input(1)) === 4) return [user.input(1)!];
      if (!user || value.users.length > 1 || !['Dropout', 'Identity', 'Cast', 'Where'].includes(user.opType)) return [];
      value = user.output();
    }
  });
}

function valuesOf(student: RepeatedLayer, teacher: RepeatedLayer) {
  const heads = (v: Value) => tensorTypeOf(v)?.shape?.[1];
  return pairsOf(attended(student), attended(teacher)).filter(([s, t]) => s.producer && t.producer && heads(s) === heads(t));
}

/** Last feature map [n, c, h, w] of each height and width, for those that both have. */
function samePlaces(student: Model, teacher: Model): (readonly [Value, Value])[] {
  const lastBySize = (model: Model) => {
    const found = new Map<string, Value>();
    for (const node of model.graph.nodes) {
      const shape = tensorTypeOf(node.outputs[0])?.shape;
      const [, , h, w] = shape ?? [];
      if (shape?.length === 4 && typeof h === 'number' && typeof w === 'number' && h * w > 1) found.set(`${h}x${w}`, node.output());
    }
    return found;
  };
  const other = lastBySize(teacher);
  return [...lastBySize(student)].flatMap(([size, value]) => {
    const twin = other.get(size);
    return twin && !value.isGraphOutput && !twin.isGraphOutput ? [[value, twin] as const] : [];
  });
}

/** What the last node with a matrix of weights on the way to the main output reads. */
function embeddingOf(model: Model): Value {
  let node = mainOutput(model.graph).producer;
  while (node) {
    const weighs = node.inputs.some((v, i) => i > 0 && v?.initializer && v.initializer.rank > 1);
    const input: Value | null = node.input(0);
    if (weighs && input?.producer) return input;
    node = input?.producer ?? null;
  }
  throw usageError('relational: expected a layer with weights in front of the output, got none');
}
