// The report's section on a training: loss over the steps, validation over the epochs, and what it took.
import type { RunRecord } from '../pass/record.js';
import { describeMemory, type TrainingNote } from '../recipe/train.js';
import { formatMs, formatNumber, formatQuality } from '../util/format.js';
import { escapeHtml } from './escape.js';
import { linesSvg } from './lines.js';

const STOPPED: Readonly<Record<TrainingNote['stopped'], string>> = {
  epochs: 'all epochs were run',
  early: 'stopped early: no better figure',
  steps: 'stopped at the largest number of steps',
  time: 'stopped when the time was up',
};

export function trainingSection({ passes }: RunRecord): string {
  const note = passes.find((p) => p.name === 'train')?.notes.training as TrainingNote | undefined;
  if (!note) return '';
  const { metric } = note;
  const loss = linesSvg([{ name: `loss (${note.loss})`, points: note.curve.map((p) => [p.step, p.loss] as const) }], {
    x: 'step',
    format: (v) => formatNumber(v),
  });
  const rate = linesSvg([{ name: 'learning rate', points: note.curve.map((p) => [p.step, p.lr] as const) }], {
    x: 'step',
    format: (v) => formatNumber(v),
    height: 90,
  });
  const figures = note.epochs.flatMap((e) => (e.value === undefined ? [] : [[e.epoch + 1, e.value] as const]));
  const validation =
    metric !== null && figures.length > 0
      ? `<h3>Validation</h3>${linesSvg([{ name: metric, points: figures }], { x: 'epoch', format: (v) => formatQuality(metric, v), dots: true })}`
      : '';
  const rows = note.epochs.map(
    (e) =>
      `<tr><td class="n">${e.epoch + 1}</td><td class="n">${formatNumber(e.loss)}</td><td class="n">${e.value === undefined || metric === null ? '' : formatQuality(metric, e.value)}${note.best?.epoch === e.epoch ? ' (best)' : ''}</td><td class="n">${formatMs(e.ms)}</td></tr>`,
  );
  const about = `${note.steps} steps of ${formatMs(note.msPerStep)}, ${note.parameters.trained} tensors trained, ${note.parameters.frozen} frozen; ${STOPPED[note.stopped]}. In memory ${describeMemory(note.memory)}.`;
  return `<h2>Training</h2><p class="soft">${escapeHtml(about)}</p>${loss}${rate}${validation}<details><summary>Epochs</summary><table><tr><th class="n">epoch</th><th class="n">loss</th><th class="n">${escapeHtml(metric ?? '')}</th><th class="n">time</th></tr>${rows.join('')}</table></details>`;
}
