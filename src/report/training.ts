// The report's sections on trainings: loss over the steps, validation over the epochs, and what it took; the teacher's part in a distillation, and what
// was rounded in a quantization-aware training.
import type { PassRecord, RunRecord } from '../pass/record.js';
import type { DistillationNote } from '../recipe/distill.js';
import type { QatNote } from '../recipe/qat.js';
import { describeMemory, type TrainingNote, trainingsOf } from '../recipe/train.js';
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
  return trainingsOf(passes)
    .map(({ pass, note }) => `${sectionOf(note)}${distillation(pass)}${rounding(pass)}`)
    .join('');
}

function distillation({ notes }: PassRecord): string {
  const note = notes.distillation as DistillationNote | undefined;
  if (!note) return '';
  const { student, layers, teachers, samples, features, embeddings } = note;
  const kept = layers === null ? '' : ` (layers ${layers.join(', ')} of the teacher)`;
  const from = `${teachers} teacher${teachers > 1 ? 's' : ''}, ${PLACES[note.placement]}`;
  const extra = samples.unlabelled > 0 ? ` and ${samples.unlabelled} labelled by the teacher` : '';
  const tables = embeddings.map((e) => `table ${e.name} of rank ${e.rank}, ${formatNumber(100 * e.lost)} % of its energy lost`);
  const about = [`Student ${student}${kept}; ${from}; ${samples.given} samples${extra}`, ...tables].join('; ');
  const rows = features.map(
    (f) =>
      `<tr><td>${escapeHtml(f.student)}</td><td>${escapeHtml(f.teacher)}</td><td>${escapeHtml(f.loss)}</td><td class="n">${formatNumber(f.weight)}</td></tr>`,
  );
  const table =
    rows.length > 0
      ? `<table><tr><th>student's value</th><th>teacher's</th><th>compared by</th><th class="n">weight</th></tr>${rows.join('')}</table>`
      : '';
  return `<h3>Distillation</h3><p class="soft">${escapeHtml(about)}.</p>${table}`;
}

const PLACES: Readonly<Record<DistillationNote['placement'], string>> = {
  graph: 'in the training graph',
  session: 'in a session of its own',
  data: 'asked once before',
};

function rounding({ notes }: PassRecord): string {
  const note = notes.qat as QatNote | undefined;
  if (!note) return '';
  const about = `Format ${note.format}: ${note.weights} weights and ${note.activations} activations were rounded while training`;
  return `<h3>Rounding</h3><p class="soft">${escapeHtml(about)}.</p>`;
}

function sectionOf(note: TrainingNote): string {
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
