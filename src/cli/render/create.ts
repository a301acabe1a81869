// What `pare new` says: the table of a new model, and the list of presets.
import type { Preset } from '../../nn/presets/index.js';
import type { CreateRecord } from '../../recipe/create.js';
import { formatBytes, formatCount, formatNumber } from '../../util/format.js';
import { renderTable } from './table.js';

export function renderCreated({ output, inputs, outputs, preset, seed, warnings }: CreateRecord): string {
  const rows = [
    ['parameters to train', output.trainable.toLocaleString('en-US')],
    ['parameters in all', output.params.toLocaleString('en-US')],
    ['MACs', formatCount(output.macs)],
    ['size', formatBytes(output.bytes)],
    ['nodes', String(output.nodes)],
    ...inputs.map((v) => [`input ${v.name}`, v.type]),
    ...outputs.map((v) => [
      `output ${v.name}`,
      `${v.type}, on random input mean ${formatNumber(v.mean)}, deviation ${formatNumber(v.std)}`,
    ]),
  ];
  const table = renderTable([{ title: `${preset}, seed ${seed}` }, { title: '', maxWidth: 100 }], rows);
  const notes = warnings.map((w) => `warning: ${w.message}${w.fix ? `\n  fix: ${w.fix}` : ''}`);
  return [table, ...notes, `wrote ${output.path}`].join('\n');
}

export function renderPresets(presets: readonly Preset[]): string {
  return renderTable(
    [{ title: 'preset' }, { title: 'parameters', align: 'right' }, { title: '', maxWidth: 100 }],
    presets.map((p) => [p.name, p.parameters.toLocaleString('en-US'), p.summary]),
  );
}
