// Tables of pruning: groups that could be pruned, and widths before and after.

import type { RunRecord } from '../../pass/record.js';
import type { GroupListing } from '../../passes/prune/structured/list.js';
import { formatCount } from '../../util/format.js';
import { renderTable } from './table.js';

/** Rows shown before the rest is only counted. */
const MAX_ROWS = 40;
const NAME_WIDTH = 44;

export function renderGroups(listing: GroupListing): string {
  const list = (names: readonly string[]) => (names.length > 2 ? `${names[0]} and ${names.length - 1} more` : names.join(', '));
  const groups = renderTable(
    [
      { title: 'group', maxWidth: NAME_WIDTH },
      { title: 'units', align: 'right' },
      { title: 'params/unit', align: 'right' },
      { title: 'read by', maxWidth: NAME_WIDTH },
      { title: 'tied by', maxWidth: NAME_WIDTH },
    ],
    listing.groups.map((g) => [
      g.selected ? g.name : `(${g.name})`,
      String(g.size),
      formatCount(g.paramsPerUnit),
      list(g.consumers),
      list(g.ties),
    ]),
  );
  const parts = [`${listing.groups.length} groups of channels can be pruned (those in brackets are left out by the options)`, groups];
  if (listing.frozen.length > 0) {
    parts.push(
      'channels that stay',
      renderTable(
        [{ title: 'layer', maxWidth: NAME_WIDTH }, { title: 'channels', align: 'right' }, { title: 'why' }],
        listing.frozen.map((f) => [f.layer, `${f.channels}/${f.of}`, f.reason]),
      ),
    );
  }
  if (listing.blocks.length > 0) {
    parts.push(
      'residual blocks (--blocks N, --remove-blocks NAME)',
      renderTable(
        [
          { title: 'block', maxWidth: NAME_WIDTH },
          { title: 'nodes', align: 'right' },
          { title: 'params', align: 'right' },
        ],
        listing.blocks.map((b) => [b.name, String(b.nodes), formatCount(b.params)]),
      ),
    );
  }
  return parts.join('\n\n');
}

/** Widths of the groups of each pass that pruned some. */
export function renderWidths(record: RunRecord): string[] {
  return record.passes.flatMap((pass) => {
    const widths = widthsOf(pass.notes.groups);
    const changed = widths.filter((w) => w.before !== w.after);
    if (changed.length === 0) return [];
    const rows = changed
      .slice(0, MAX_ROWS)
      .map((w) => [w.name, String(w.before), String(w.after), `${((w.after / w.before) * 100).toFixed(0)} %`]);
    const more = changed.length > MAX_ROWS ? [`and ${changed.length - MAX_ROWS} more groups`] : [];
    const table = renderTable(
      [
        { title: 'group', maxWidth: NAME_WIDTH },
        { title: 'width', align: 'right' },
        { title: 'now', align: 'right' },
        { title: 'kept', align: 'right' },
      ],
      rows,
    );
    return [table, ...more];
  });
}

interface Width {
  readonly name: string;
  readonly before: number;
  readonly after: number;
}

function widthsOf(note: unknown): Width[] {
  return Array.isArray(note) ? (note as Width[]).filter((w) => typeof w?.before === 'number' && typeof w.after === 'number') : [];
}
