// Command-line flags from a zod object: the option descriptor of a pass is the only place where its options are described.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';

interface FieldSchema {
  readonly type?: string;
  readonly enum?: readonly (string | number)[];
  readonly items?: FieldSchema;
  readonly anyOf?: readonly FieldSchema[];
  readonly default?: unknown;
  readonly description?: string;
}

/**
 * Adds a flag for every field of the schemas; field `maxFoldBytes` becomes `--max-fold-bytes`. Where several schemas (modes of one command, by
 * name) share a field they share the flag, and the help says which modes take it. `kind` is what the help calls a mode.
 */
export function addZodFlags(command: Command, schemas: Readonly<Record<string, z.ZodObject>>, kind = 'mode'): void {
  const fields = new Map<string, { readonly field: FieldSchema; readonly modes: string[]; readonly all: FieldSchema[] }>();
  for (const [mode, schema] of Object.entries(schemas)) {
    const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as { properties?: Record<string, FieldSchema> };
    for (const [name, field] of Object.entries(json.properties ?? {})) {
      const known = fields.get(name) ?? { field, modes: [], all: [] };
      known.modes.push(mode);
      known.all.push(field);
      fields.set(name, known);
    }
  }
  const several = Object.keys(schemas).length > 1;
  for (const [name, { field, modes, all }] of fields) {
    const prefix = several && modes.length < Object.keys(schemas).length ? `[${modes.join(', ')}] ` : '';
    for (const option of flagsOf(name, field, all, prefix, kind)) {
      if (!command.options.some((o) => o.long === option.long)) command.addOption(option);
    }
  }
}

function flagsOf(name: string, field: FieldSchema, all: readonly FieldSchema[], prefix: string, modeKind: string): Option[] {
  const flag = kebab(name);
  const defaults = new Set(all.map((f) => JSON.stringify(f.default)));
  const fallback =
    defaults.size > 1
      ? ` (default depends on the ${modeKind})`
      : isPlain(field.default)
        ? ` (default ${JSON.stringify(field.default)})`
        : '';
  const about = `${prefix}${field.description ?? ''}`;
  const kind = field.anyOf?.find((f) => f.type !== 'null') ?? field;
  if (kind.type === 'boolean') {
    return all.flatMap((f) =>
      f.default === true ? new Option(`--no-${flag}`, `${prefix}turn off: ${f.description ?? ''}`) : new Option(`--${flag}`, about),
    );
  }
  if (kind.type === 'array') {
    const add = (text: string, earlier: (string | number)[] | undefined) => [
      ...(earlier ?? []),
      ...text.split(',').map((s) => scalar(s.trim(), kind.items ?? {})),
    ];
    return [new Option(`--${flag} <list>`, `${about}; may be repeated`).argParser(add)];
  }
  const option = new Option(`--${flag} <${kind.type === 'number' || kind.type === 'integer' ? 'number' : 'value'}>`, about + fallback);
  const choices = new Set(all.flatMap((f) => (f.anyOf?.find((g) => g.type !== 'null') ?? f).enum ?? []));
  if (choices.size > 0 && [...choices].every((v) => typeof v === 'string')) return [option.choices([...choices] as string[])];
  return [option.argParser((text: string) => scalar(text, kind))];
}

function isPlain(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'number';
}

function scalar(text: string, field: FieldSchema): string | number {
  const numeric = field.type === 'number' || field.type === 'integer' || field.enum?.some((v) => typeof v === 'number');
  if (!numeric) return text;
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError(`expected a number, got "${text}"`);
  return value;
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
}

/** The flags that belong to `schema`, picked from the parsed options of a command. Flags not given are left out, so that defaults apply. */
export function pickOptions(command: Command, schema: z.ZodObject): Record<string, unknown> {
  const picked: Record<string, unknown> = {};
  for (const name of Object.keys(schema.shape)) {
    if (command.getOptionValueSource(name) === undefined || command.getOptionValueSource(name) === 'default') continue;
    picked[name] = command.opts()[name];
  }
  return picked;
}

/** Flags given on the command line that are fields of other schemas only: they would do nothing. */
export function foreignFlags(
  command: Command,
  own: z.ZodObject,
  others: Readonly<Record<string, z.ZodObject>>,
): { flag: string; modes: string[] }[] {
  const found = new Map<string, string[]>();
  for (const [mode, schema] of Object.entries(others)) {
    for (const name of Object.keys(schema.shape)) {
      if (name in own.shape || command.getOptionValueSource(name) !== 'cli') continue;
      found.set(name, [...(found.get(name) ?? []), mode]);
    }
  }
  return [...found].map(([name, modes]) => ({ flag: `--${kebab(name)}`, modes }));
}
