// Tables of text: CSV (RFC 4180, quotes and line breaks inside quotes), TSV (no quoting, as data sets in this form are written) and JSON lines;
// columns found by header, by position, or by what they look like. Also lines of plain text with a label in front (TREC, fastText).
import { dataError, usageError } from '../errors.js';
import type { TextRow } from './text.js';

export type TableKind = 'csv' | 'tsv' | 'jsonl';

export interface TableOptions {
  /** Column of the text, by name or position from 1; two separated by a comma are a pair. */
  readonly text?: string | undefined;
  readonly label?: string | undefined;
  /** Class names in index order; default: whole numbers as they are, other labels sorted. */
  readonly classes?: readonly string[] | undefined;
}

export interface LabelledText {
  readonly rows: readonly TextRow[];
  /** Set where the labels are classes; undefined where they are values (or absent). */
  readonly classes: readonly string[] | undefined;
}

const TEXT_NAMES = [
  'text',
  'sentence',
  'question',
  'content',
  'review',
  'tweet',
  'document',
  'input',
  'utterance',
  'sentence1',
  'text1',
  'premise',
  'question1',
];
const PAIR_NAMES = ['sentence2', 'text2', 'hypothesis', 'question2'];
const LABEL_NAMES = ['label', 'labels', 'class', 'category', 'target', 'intent', 'sentiment', 'score', 'coarse_label', 'similarity', 'y'];

/** Cells of a CSV text. Throws E_DATA for a quote that is never closed. */
export function parseCsv(source: string, file: string, delimiter = ','): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let at = source.charCodeAt(0) === 0xfeff ? 1 : 0;
  const endRow = () => {
    if (row.length > 1 || row[0] !== '') rows.push(row);
    row = [];
  };
  while (at < source.length) {
    let cell = '';
    if (source[at] === '"') {
      const start = at;
      for (at++; ; ) {
        const quote = source.indexOf('"', at);
        if (quote < 0)
          throw dataError(`CSV row ${rows.length + 1}: expected a closing quote, got the end of the file`, {
            place: { file, offset: start },
          });
        cell += source.slice(at, quote);
        at = quote + 1;
        if (source[at] !== '"') break;
        cell += '"';
        at++;
      }
    }
    const start = at;
    while (at < source.length && source[at] !== delimiter && source[at] !== '\n' && source[at] !== '\r') at++;
    row.push(cell + source.slice(start, at));
    if (source[at] === delimiter) {
      at++;
      if (at === source.length) row.push('');
      continue;
    }
    if (source[at] === '\r') at++;
    if (source[at] === '\n') at++;
    endRow();
  }
  if (row.length > 0) endRow();
  return rows;
}

function parseTsv(source: string): string[][] {
  const lines = source.replace(/^\ufeff/, '').split(/\r?\n/);
  return lines.filter((line) => line.trim() !== '').map((line) => line.split('\t'));
}

/** Rows of a table file as texts with labels. Throws E_DATA and E_USAGE naming the columns that are there. */
export function parseTable(source: string, kind: TableKind, file: string, options: TableOptions = {}): LabelledText {
  if (kind === 'jsonl') {
    const { header, cells } = jsonCells(source, file);
    return assemble(cells, columnsOf(header, cells, options, file), options, file);
  }
  const cells = kind === 'csv' ? parseCsv(source, file) : parseTsv(source);
  if (cells.length === 0) throw dataError(`"${file}": expected at least one row, got an empty file`);
  const header = headerOf(cells[0]!, options);
  const body = header ? cells.slice(1) : cells;
  if (body.length === 0) throw dataError(`"${file}": expected rows under the header ${header?.join(', ')}, got none`);
  return assemble(body, columnsOf(header, body, options, file), options, file);
}

function jsonCells(source: string, file: string): { header: string[]; cells: string[][] } {
  const records = source
    .split(/\r?\n/)
    .map((line, i) => [line.trim(), i + 1] as const)
    .filter(([line]) => line !== '')
    .map(([line, number]) => {
      try {
        const record: unknown = JSON.parse(line);
        if (typeof record === 'object' && record !== null && !Array.isArray(record)) return record as Record<string, unknown>;
      } catch (cause) {
        throw dataError(`"${file}" line ${number}: expected a JSON object, got ${line.slice(0, 60)}`, { cause });
      }
      throw dataError(`"${file}" line ${number}: expected a JSON object, got ${line.slice(0, 60)}`);
    });
  if (records.length === 0) throw dataError(`"${file}": expected at least one line, got an empty file`);
  const header = Object.keys(records[0]!);
  const cells = records.map((r) => header.map((key) => (r[key] === undefined || r[key] === null ? '' : String(r[key]))));
  return { header, cells };
}

const isPosition = (column: string | undefined) => column === undefined || /^\d+(,\d+)?$/.test(column);
const isNumeric = (cell: string) => cell.trim() !== '' && Number.isFinite(Number(cell));

/** The first row where it holds column names: those asked for, or well-known ones, with no number among them. */
function headerOf(first: readonly string[], { text, label }: TableOptions): string[] | undefined {
  const names = first.map((c) => c.trim());
  if (!isPosition(text) || !isPosition(label)) return names;
  const known = new Set([...TEXT_NAMES, ...PAIR_NAMES, ...LABEL_NAMES]);
  return names.some((n) => known.has(n.toLowerCase())) && !names.some(isNumeric) ? names : undefined;
}

interface Columns {
  readonly text: number;
  readonly pair: number | undefined;
  readonly label: number | undefined;
}

function columnsOf(
  header: readonly string[] | undefined,
  rows: readonly (readonly string[])[],
  options: TableOptions,
  file: string,
): Columns {
  const width = rows[0]!.length;
  const find = (name: string, flag: string): number => {
    const index = header?.indexOf(name) ?? -1;
    if (index >= 0) return index;
    if (/^\d+$/.test(name) && Number(name) >= 1 && Number(name) <= width) return Number(name) - 1;
    throw usageError(`${flag} ${name}: expected a column of "${file}": ${header?.join(', ') ?? `1 to ${width}`}, got "${name}"`);
  };
  const among = (names: readonly string[]) => {
    const index = header?.findIndex((h) => names.includes(h.toLowerCase())) ?? -1;
    return index < 0 ? undefined : index;
  };
  const guessed = guessColumns(rows);
  const label = options.label === undefined ? (header ? among(LABEL_NAMES) : guessed.label) : find(options.label, '--label');
  if (options.text !== undefined) {
    const [first, second] = header?.includes(options.text) ? [options.text] : options.text.split(',');
    return { text: find(first!, '--text'), pair: second === undefined ? undefined : find(second, '--text'), label };
  }
  const text = header ? among(TEXT_NAMES) : guessed.text === label ? guessed.pair : guessed.text;
  if (text === undefined)
    throw usageError(
      `"${file}": expected a text column (${TEXT_NAMES.slice(0, 4).join(', ')}, ...), got columns ${header?.join(', ') ?? width}`,
      {
        hint: 'name it with --text COLUMN',
      },
    );
  return { text, pair: header ? among(PAIR_NAMES) : guessed.pair === label || guessed.pair === text ? undefined : guessed.pair, label };
}

/** Without a header: a column of numbers at either end is the label, else of two columns the one with fewer different values. */
function guessColumns(rows: readonly (readonly string[])[]): Columns {
  const width = rows[0]!.length;
  const numeric = (column: number) => rows.every((r) => isNumeric(r[column] ?? ''));
  const distinct = (column: number) => new Set(rows.map((r) => r[column])).size;
  let label: number | undefined;
  if (width > 1 && numeric(width - 1)) label = width - 1;
  else if (width > 1 && numeric(0)) label = 0;
  else if (width === 2) label = distinct(0) < distinct(1) ? 0 : 1;
  const rest = rows[0]!.map((_, i) => i).filter((i) => i !== label && !numeric(i));
  return { text: rest[0] ?? 0, pair: rest.length === 2 ? rest[1] : undefined, label };
}

function assemble(cells: readonly (readonly string[])[], columns: Columns, options: TableOptions, file: string): LabelledText {
  const { text, pair, label } = columns;
  const needed = Math.max(text, pair ?? 0, label ?? 0) + 1;
  const short = cells.findIndex((row) => row.length < needed);
  if (short >= 0) throw dataError(`"${file}" row ${short + 1}: expected at least ${needed} columns, got ${cells[short]!.length}`);
  const labels =
    label === undefined
      ? undefined
      : resolveLabels(
          cells.map((row) => row[label]!.trim()),
          options.classes,
          file,
        );
  const rows = cells.map((row, i) => ({
    text: row[text]!.trim(),
    pair: pair === undefined ? undefined : row[pair]!.trim(),
    label: labels?.values[i],
  }));
  return { rows, classes: labels?.classes };
}

/** Labels as numbers. Whole numbers are class indices, other numbers values, everything else names: their sorted order, or `classes`, gives the index. */
export function resolveLabels(
  labels: readonly string[],
  classes: readonly string[] | undefined,
  file: string,
): { values: number[]; classes: readonly string[] | undefined } {
  if (classes === undefined && labels.every(isNumeric)) {
    const values = labels.map(Number);
    const whole = labels.every((l) => /^\d+$/.test(l));
    return {
      values,
      classes: whole ? Array.from({ length: Math.max(...values.map((v) => Math.min(v, 99_999))) + 1 }, (_, i) => String(i)) : undefined,
    };
  }
  const names = classes ?? [...new Set(labels)].sort();
  const index = new Map(names.map((name, i) => [name, i]));
  const values = labels.map((l, i) => {
    const found = index.get(l);
    if (found === undefined) throw dataError(`"${file}" row ${i + 1}: expected a label of the ${names.length} classes, got "${l}"`);
    return found;
  });
  return { values, classes: names };
}

/** Lines of text, labelled where every line begins with `CLASS:detail ` (TREC; the class counts) or `__label__CLASS ` (fastText). */
export function parseLines(source: string, file: string, classes?: readonly string[]): LabelledText {
  const lines = source
    .split(/\r?\n/)
    .map((l) => l.trim())
    .filter((l) => l !== '');
  if (lines.length === 0) throw dataError(`"${file}": expected lines of text, got an empty file`);
  const matches = lines.map((l) => /^(?:__label__(\S+)|([A-Z]+):\S+)\s+(.*)$/.exec(l));
  if (matches.some((m) => m === null)) return { rows: lines.map((text) => ({ text })), classes: undefined };
  const labels = resolveLabels(
    matches.map((m) => m![1] ?? m![2]!),
    classes,
    file,
  );
  return { rows: matches.map((m, i) => ({ text: m![3]!, label: labels.values[i] })), classes: labels.classes };
}
