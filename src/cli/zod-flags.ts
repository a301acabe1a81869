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

/** Adds one flag for each field of `schema` except those in `skip`. Field `maxFoldBytes` becomes `--max-fold-bytes`. */
export function addZodFlags(command: Command, schema: z.ZodObject, skip: readonly string[] = []): void {
  const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as { properties?: Record<string, FieldSchema> };
  for (const [name, field] of Object.entries(json.properties ?? {})) {
    if (skip.includes(name) || hasFlag(command, name)) continue;
    command.addOption(flagOf(name, field));
  }
}

function hasFlag(command: Command, name: string): boolean {
  return command.options.some((o) => o.attributeName() === name || o.long === `--${kebab(name)}`);
}

function flagOf(name: string, field: FieldSchema): Option {
  const flag = kebab(name);
  const kind = field.anyOf?.find((f) => f.type !== 'null') ?? field;
  const silent = field.default === undefined || kind.type === 'boolean' || (Array.isArray(field.default) && field.default.length === 0);
  const about = `${field.description ?? ''}${silent ? '' : ` (default ${JSON.stringify(field.default)})`}`;
  if (kind.type === 'boolean')
    return field.default === true ? new Option(`--no-${flag}`, `turn off: ${field.description ?? ''}`) : new Option(`--${flag}`, about);
  if (kind.type === 'array')
    return new Option(`--${flag} <list>`, about).argParser((text: string) =>
      text.split(',').map((s) => scalar(s.trim(), kind.items ?? {})),
    );
  const option = new Option(`--${flag} <${kind.type === 'number' || kind.type === 'integer' ? 'number' : 'value'}>`, about);
  if (kind.enum?.every((v) => typeof v === 'string')) return option.choices(kind.enum as string[]);
  return option.argParser((text: string) => scalar(text, kind));
}

function scalar(text: string, field: FieldSchema): string | number {
  const numeric = field.type === 'number' || field.type === 'integer' || field.enum?.some((v) => typeof v === 'number');
  if (!numeric) return text;
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError(`expected a number, got "${text}"`);
  return value;
}

export function kebab(name: string): string {
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
