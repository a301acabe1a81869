// Bars of weight-only quantization: a character model at 4, 3 and 2 bits by each method, a text classifier at 4 bits, and products as Gemm.
// Calibration: the first 90 % of the text (or the training rows); judged on the last 10 % (or the test rows). Same settings everywhere.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { atLeast, atMost, figure, wanted } from '../lib/bars.js';
import { pareJson, shared, WORK } from '../lib/pare.js';

const out = join(WORK, 'weights.onnx');

export function weightBars() {
  if (wanted('weights-shakespeare')) shakespeare();
  if (wanted('weights-sst2-int4')) sst2();
}

const SHAKESPEARE = [
  { bits: 4, method: 'rtn' },
  { bits: 3, method: 'rtn' },
  { bits: 2, method: 'rtn' },
  { bits: 4, method: 'search' },
  { bits: 3, method: 'hqq' },
  { bits: 2, method: 'hqq' },
  { bits: 4, method: 'awq' },
  { bits: 4, method: 'gptq', bar: 0.0006, bytes: 2.1e6 },
  { bits: 3, method: 'gptq', bar: 0.0015 },
  { bits: 2, method: 'gptq', bar: 0.015 },
];

function shakespeare() {
  const text = readFileSync(shared('tiny-shakespeare/input.txt'), 'utf8');
  const cut = Math.floor(text.length * 0.9);
  const train = join(WORK, 'train.txt');
  const last = join(WORK, 'last.txt');
  writeFileSync(train, text.slice(0, cut));
  writeFileSync(last, text.slice(cut));
  for (const { bits, method, bar, bytes } of SHAKESPEARE) {
    const name = `weights-shakespeare-${method}-${bits}`;
    if (!wanted(name)) continue;
    const r = quantize('text-models/shakespeare_gpt.onnx', bits, method, [
      ...['--data', train, '--validation', last, '--metric', 'loss'],
      ...['--tokenizer', shared('text-models/shakespeare_vocab.json')],
    ]);
    const more = r.quality.after - r.quality.before;
    figure(
      `  ${name}`,
      `loss ${r.quality.before.toFixed(4)} + ${more.toFixed(5)} on ${r.quality.samples} windows, ${r.output.bytes} bytes, rounding ${(r.passes[0].ms / 1000).toFixed(1)} s`,
    );
    if (bar !== undefined) atMost(name, more, bar, 'loss');
    if (bytes !== undefined) atMost(`${name}-bytes`, r.output.bytes, bytes, 'bytes');
  }
}

function sst2() {
  const r = quantize('text-models/sst2_bert_mini.onnx', 4, 'gptq', [
    ...['--data', shared('sst2/train.tsv'), '--validation', shared('sst2/test.tsv'), '--metric', 'top1'],
    ...['--tokenizer', shared('text-models/sst2_tokenizer.json')],
  ]);
  atLeast('weights-sst2-int4', r.quality.after * 100, 79, '%');
  atMost('weights-sst2-int4-bytes', r.output.bytes, 3.4e6, 'bytes');
}

function quantize(model, bits, method, flags) {
  return pareJson('quantize', shared(model), '-o', out, '--mode', 'weights', '--bits', String(bits), '--method', method, ...flags);
}
