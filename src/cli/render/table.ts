// Plain tables for the terminal: no boxes, columns aligned, the header underlined.
import Table from 'cli-table3';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** Longest text shown; longer ones are cut in the middle. */
  readonly maxWidth?: number;
}

const NO_BORDER = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

/** Renders rows under a header. Cells beyond a column's width lose their middle, since layer names differ at the end. */
export function renderTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const table = new Table({
    chars: NO_BORDER,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: columns.map((c) => c.align ?? 'left'),
  });
  const cells = rows.map((row) => row.map((cell, i) => shorten(cell, columns[i]?.maxWidth)));
  const widths = columns.map((c, i) => Math.max(c.title.length, ...cells.map((row) => row[i]?.length ?? 0)));
  table.push(columns.map((c) => c.title));
  table.push(widths.map((w) => '-'.repeat(w)));
  for (const row of cells) table.push([...row]);
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

function shorten(text: string, maxWidth = 48): string {
  if (text.length <= maxWidth) return text;
  const tail = Math.ceil((maxWidth - 1) * 0.6);
  return `${text.slice(0, maxWidth - 1 - tail)}…${text.slice(text.length - tail)}`;
}
