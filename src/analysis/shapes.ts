// Shape inference over a whole model: sets the type of every value in place and follows the content of small integer tensors,
// so that models with dynamic axes are inferred through their shape arithmetic. What the operators do is in ops/, the walk in infer-graph.ts.
import { shapeError, usageError } from '../errors.js';
import { dimSymbols, substituteDim } from '../ir/dim.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { type Dim, formatShape, type ValueType } from '../ir/type.js';
import { walkGraphs } from '../ir/walk.js';
import type { PartialValue } from '../ops/op.js';
import { canonicalType, GraphInference, type TypeConflict, type UnknownNode } from './infer-graph.js';

export type { TypeConflict, UnknownNode } from './infer-graph.js';

export interface ShapeOptions {
  /** Dimensions of graph inputs by name. Symbols they give a number to get it everywhere. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined;
  /** Throw E_SHAPE or E_TYPE at the first contradiction instead of listing it. */
  readonly strict?: boolean | undefined;
  /** Forget the types that values inside have: after edits that change dimensions. */
  readonly forget?: boolean | undefined;
}

export interface ShapeReport {
  /** Values with a type, and all values. */
  readonly inferred: number;
  readonly total: number;
  /** Nodes whose outputs are not known, and why. */
  readonly unknown: readonly UnknownNode[];
  /** Types in the file that inference contradicts; the inferred ones are kept. */
  readonly conflicts: readonly TypeConflict[];
  /** Contents followed through shape arithmetic (constants themselves not listed). */
  readonly values: ReadonlyMap<Value, PartialValue>;
  /** For each call of a local function a copy of its body, typed for that call. */
  readonly bodies: ReadonlyMap<Node, Graph>;
}

/**
 * Infers the type of every value of the model, in place. A dimension of a graph input that the file leaves open gets the symbol
 * `unk_<input>_<axis>`. Nodes of unknown operators keep what the file says of their outputs and are listed.
 */
export function inferShapes(model: Model, options: ShapeOptions = {}): ShapeReport {
  if (options.forget) forgetTypes(model);
  if (options.inputShapes) bindInputs(model, options.inputShapes);
  for (const graph of walkGraphs(model.graph)) {
    for (const value of graph.values()) {
      const data = value.initializer;
      if (data) value.type = { kind: 'tensor', dtype: data.dtype, shape: data.dims };
      else if (value.sparse) value.type ??= { kind: 'tensor', dtype: value.sparse.values.dtype, shape: value.sparse.dims };
    }
  }
  nameOpenInputs(model);
  const walk = new GraphInference(model, options.strict ?? false);
  walk.run(model.graph);
  let inferred = 0;
  let total = 0;
  for (const graph of walkGraphs(model.graph)) {
    for (const value of graph.values()) {
      total++;
      if (value.type) inferred++;
    }
  }
  return {
    inferred,
    total,
    unknown: [...walk.unknown.values()],
    conflicts: [...walk.conflicts.values()],
    values: walk.values,
    bodies: walk.bodies,
  };
}

/**
 * Fixes symbols in place: a number under a symbol's name, or all dimensions under an input's name. Then infers anew.
 * Throws E_USAGE for a name that is neither, E_SHAPE where dimensions contradict the model.
 */
export function specializeShapes(
  model: Model,
  dims: Readonly<Record<string, number | readonly number[]>>,
  options: ShapeOptions = {},
): ShapeReport {
  const inputShapes: Record<string, readonly number[]> = { ...options.inputShapes };
  const symbols: Record<string, number> = {};
  const known = new Set(
    model.graph.inputs.flatMap((v) => (v.type?.kind === 'tensor' ? (nameOpenDims(v, v.type).shape ?? []).flatMap(dimSymbols) : [])),
  );
  for (const [name, given] of Object.entries(dims)) {
    if (typeof given === 'number') {
      if (!known.has(name))
        throw usageError(`no symbolic dimension "${name}": expected one of ${[...known].map((s) => `"${s}"`).join(', ') || '(none)'}`);
      symbols[name] = given;
    } else inputShapes[name] = given;
  }
  nameOpenInputs(model);
  substituteEverywhere(model, symbols);
  return inferShapes(model, { ...options, inputShapes });
}

function forgetTypes(model: Model): void {
  for (const graph of walkGraphs(model.graph)) {
    for (const value of graph.values()) {
      if (graph === model.graph && value.isGraphInput) continue;
      value.type = undefined;
    }
  }
}

/** Gives each open dimension of the inputs the symbol `unk_<input>_<axis>`, in place. */
export function nameOpenInputs(model: Model): void {
  for (const input of model.graph.inputs) if (!input.initializer) input.type = nameOpenDims(input, input.type);
}

/** Canonical type of an input, with symbols for the dimensions that the file leaves open. */
function nameOpenDims<T extends ValueType | undefined>(input: Value, given: T): T {
  const type = canonicalType(given) as T;
  if (type?.kind !== 'tensor' || type.shape === null) return type;
  return { ...type, shape: type.shape.map((d, axis) => d ?? `unk_${input.name.replace(/[^\p{L}\p{N}_.]/gu, '_')}_${axis}`) };
}

/** Sets the dimensions of inputs and gives the symbols found there their numbers in the whole model. */
function bindInputs(model: Model, inputShapes: Readonly<Record<string, readonly number[]>>): void {
  const bound: Record<string, number> = {};
  const given = Object.entries(inputShapes);
  for (const [name, dims] of given) {
    const input = model.graph.inputs.find((v) => v.name === name);
    if (!input) {
      throw usageError(`no input "${name}": expected one of ${model.graph.inputs.map((v) => `"${v.name}"`).join(', ')}`, {
        place: { value: name },
      });
    }
    const type = canonicalType(input.type);
    if (type?.kind !== 'tensor')
      throw shapeError(`input "${name}": expected a tensor to give dimensions to, got ${type?.kind ?? 'no type'}`);
    const fail = () =>
      shapeError(`input "${name}": expected ${formatShape(type.shape)}, got ${formatShape(dims)}`, { place: { value: name } });
    if (dims.some((d) => !Number.isSafeInteger(d) || d < 0))
      throw usageError(`input "${name}": expected whole dimensions, got ${formatShape(dims)}`);
    if (type.shape && type.shape.length !== dims.length) throw fail();
    for (const [axis, dim] of (type.shape ?? []).entries()) {
      if (typeof dim === 'number' && dim !== dims[axis]) throw fail();
      if (typeof dim !== 'string') continue;
      if (bound[dim] !== undefined && bound[dim] !== dims[axis]) {
        throw shapeError(`input "${name}": expected ${bound[dim]} for "${dim}" as in another input, got ${dims[axis]}`, {
          place: { value: name },
        });
      }
      bound[dim] = dims[axis]!;
    }
    input.type = { ...type, shape: dims };
  }
  substituteEverywhere(model, bound);
}

function substituteEverywhere(model: Model, env: Readonly<Record<string, Dim>>): void {
  if (Object.keys(env).length === 0) return;
  for (const graph of walkGraphs(model.graph)) {
    for (const value of graph.values()) if (!value.initializer) value.type = substituteType(canonicalType(value.type), env);
  }
}

function substituteType(type: ValueType | undefined, env: Readonly<Record<string, Dim>>): ValueType | undefined {
  if (type?.kind === 'tensor' && type.shape) return { ...type, shape: type.shape.map((d) => substituteDim(d, env)) };
  if (type?.kind === 'sequence' || type?.kind === 'optional')
    return { ...type, element: substituteType(type.element ?? undefined, env) ?? null };
  return type;
}
