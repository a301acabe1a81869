// A preset is a named network with options: one zod object gives its type, the flags of `pare new` and the checks.
import { z } from 'zod';
import { usageError } from '../../errors.js';
import type { Model } from '../../ir/model.js';
import { problems } from '../../pass/define.js';
import { buildNetwork, type NetworkOptions, type Scope } from '../scope.js';

export interface PresetDefinition<S extends z.ZodObject> {
  readonly name: string;
  /** One line for help and docs. */
  readonly summary: string;
  /** Parameters that training changes, with all options at their defaults. */
  readonly parameters: number;
  /** Each field with `.describe()` and a default. */
  readonly options: S;
  build(scope: Scope, options: z.output<S>): void;
}

export interface Preset {
  readonly name: string;
  readonly summary: string;
  readonly parameters: number;
  readonly options: z.ZodObject;
  /** Options with defaults filled in; throws E_USAGE naming each field that is wrong. */
  parse(options: unknown): Readonly<Record<string, unknown>>;
  /** A new model; the file's metadata says how it was made. */
  create(options?: unknown, network?: NetworkOptions): Model;
}

export function definePreset<S extends z.ZodObject>(definition: PresetDefinition<S>): Preset {
  const { name, summary, parameters, options: schema } = definition;
  const parse = (input: unknown): z.output<S> => {
    const parsed = schema.safeParse(input ?? {});
    if (!parsed.success) throw usageError(`options of ${name}: ${problems(parsed.error)}`);
    return parsed.data;
  };
  return {
    name,
    summary,
    parameters,
    options: schema,
    parse,
    create(input, network = {}) {
      const options = parse(input);
      const model = buildNetwork(name, (scope) => definition.build(scope, options), network);
      model.metadata.set('pare.preset', name);
      model.metadata.set('pare.options', JSON.stringify(options));
      model.metadata.set('pare.seed', String(network.seed ?? 0));
      return model;
    },
  };
}

const count = z.int().positive();

/** Options that several presets share, explained in one place. */
export const field = {
  count,
  classes: (fallback: number) => count.default(fallback).describe('number of classes'),
  channels: (fallback: number) => count.default(fallback).describe('channels of the input picture'),
  size: (fallback: number) => count.default(fallback).describe('height and width of the input picture'),
  dropout: (fallback: number) => z.number().min(0).lt(1).default(fallback).describe('rate of dropout while training'),
  layers: (fallback: number) => count.default(fallback).describe('number of blocks'),
  hidden: (fallback: number) => count.default(fallback).describe('hidden size'),
  heads: (fallback: number) => count.default(fallback).describe('heads of attention'),
  intermediate: () => count.optional().describe('width of the feed-forward nets (default four times hidden)'),
  vocabulary: (fallback: number) => count.default(fallback).describe('number of tokens'),
  positions: (fallback: number) => count.default(fallback).describe('longest sequence'),
};
