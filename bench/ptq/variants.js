// The file set for transformers.js, made from the shared BERT and the shared GPT: every file loads in Node and as WebAssembly. BERT's classify through the
// text-classification pipeline in Node and in headless Chromium, with their accuracy; GPT's logits are compared there. Figures without a bar are for reading.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { atMost, check, figure, wanted } from '../lib/bars.js';
import { CHROMIUM, withPage } from '../lib/page.js';
import { pare, shared, WORK } from '../lib/pare.js';

const ROOT = resolve(import.meta.dirname, '../..');
const DTYPES = ['fp16', 'q8', 'int8', 'uint8', 'q4', 'q4f16', 'bnb4', 'q2', 'q2f16', 'q1', 'q1f16'];

/** Sentences of like length share a batch, so that little of it is padding. */
const CLASSIFY = `
const { dtype, rows, device } = argument;
const classify = await transformers.pipeline('text-classification', 'bert', { dtype, device });
const sorted = [...rows].sort((a, b) => a.text.length - b.text.length);
let right = 0;
for (let i = 0; i < sorted.length; i += 16) {
  const part = sorted.slice(i, i + 16);
  const labels = await classify(part.map((r) => r.text));
  right += labels.filter((l, k) => (l.label === 'POSITIVE' ? 1 : 0) === part[k].label).length;
}
await classify.dispose();
return right / rows.length;
`;

/** Logits of texts, rounded to what travels cheaply. */
const LOGITS = `
const { dtype, texts, device } = argument;
const tokenizer = await transformers.AutoTokenizer.from_pretrained('gpt');
const model = await transformers.AutoModelForCausalLM.from_pretrained('gpt', { dtype, device });
const answers = [];
for (const text of texts) {
  const { logits } = await model(await tokenizer(text));
  answers.push(Array.from(logits.data, (v) => Number(v.toPrecision(6))));
}
await model.dispose();
return answers;
`;

/** Runs one of the programs above in a process of its own, for every dtype in turn. */
function inNode(body, argument) {
  const program = `
import * as transformers from '@huggingface/transformers';
import { readFileSync } from 'node:fs';
const { folder, dtypes, ...rest } = JSON.parse(readFileSync(0, 'utf8'));
transformers.env.allowRemoteModels = false;
transformers.env.localModelPath = folder;
const run = async (argument) => { ${body} };
const answers = {};
for (const dtype of dtypes) answers[dtype] = await run({ ...rest, dtype });
process.stdout.write(JSON.stringify(answers));
`;
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    cwd: ROOT,
    input: JSON.stringify({ folder: WORK, dtypes: ['fp32', ...DTYPES], ...argument }),
    maxBuffer: 2 ** 28,
  });
  if (run.status !== 0) throw new Error(run.stderr);
  return JSON.parse(run.stdout);
}

/** Seconds are printed as they pass: a page on a busy machine takes minutes. */
async function inPage(name, body, argument) {
  const answers = {};
  await withPage(WORK, body, async (run) => {
    for (const dtype of ['fp32', ...DTYPES]) {
      const start = performance.now();
      answers[dtype] = await run({ ...argument, dtype, device: 'wasm' });
      figure(`  ${name} ${dtype}`, `answered after ${((performance.now() - start) / 1000).toFixed(1)} s`);
    }
  });
  return answers;
}

/** Makes a package and its variants; answers the record. */
function makePackage(name, model, write, ...options) {
  const folder = join(WORK, `${name}-source`);
  mkdirSync(join(folder, 'onnx'), { recursive: true });
  cpSync(shared(model), join(folder, 'onnx/model.onnx'));
  write(folder);
  const run = pare('variants', folder, '-o', join(WORK, name), '--threads', '1', '--json', ...options);
  if (run.status !== 0 && !run.stdout.trim().startsWith('{')) throw new Error(run.stderr);
  return JSON.parse(run.stdout);
}

function report(name, record) {
  const failures = [];
  const [{ rows }] = record.sessions;
  for (const variant of ['fp32', ...DTYPES]) {
    const row = rows.find((r) => r.variant === variant);
    if (!row || row.missing !== null || row.devices.length !== record.devices.length) {
      failures.push(`${variant}: ${row?.missing ?? 'not made'}`);
      continue;
    }
    const [cpu] = row.devices;
    const share = cpu.metric && /^(top|f1|agree)/.test(cpu.metric.name);
    const score = cpu.metric
      ? `${cpu.metric.name} ${share ? `${(cpu.metric.after * 100).toFixed(2)} %` : cpu.metric.after.toFixed(4)}`
      : `KL ${cpu.kl?.toPrecision(3)}`;
    const devices = row.devices.map(
      (d) => `${d.device} load ${d.load_ms.toFixed(0)} ms, p50 ${d.p50_ms.toFixed(2)} ms, cosine ${d.cosine.toFixed(5)}`,
    );
    figure(`${name}-${variant}`, `${row.bytes} bytes, ${score}, ${devices.join('; ')}`);
  }
  check(`${name}-load`, failures);
}

/** Sentences classified in the browser: enough that one of them is less than half a point. */
const PAGE_ROWS = 240;

/** Every variant answers, and those of 4 bits and more score what float does within a point. */
function judge(name, answers) {
  const float = answers.fp32;
  const failures = [];
  for (const dtype of DTYPES) {
    figure(`${name}-${dtype}`, answers[dtype] === undefined ? 'none' : `${(answers[dtype] * 100).toFixed(2)} %`);
    if (answers[dtype] === undefined) failures.push(`${dtype} did not answer`);
    else if (!/^q[12]/.test(dtype) && answers[dtype] < float - 0.01) failures.push(`${dtype}: ${answers[dtype]} against ${float} in float`);
  }
  check(name, failures);
}

function labelledRows(limit) {
  const lines = readFileSync(shared('sst2/test.tsv'), 'utf8').trim().split('\n');
  const cells = lines.map((l) => l.split('\t'));
  const at = cells[0].findIndex((c) => /^(label|[01])$/.test(c.trim()));
  const rows = cells.filter((c) => /^[01]$/.test(c[at]?.trim())).map((c) => ({ text: c[1 - at], label: Number(c[at]) }));
  return rows.slice(0, limit);
}

/** A tokenizer.json that has one token for each character. */
function characterTokenizer(vocabulary) {
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'Split', pattern: { Regex: '[\\s\\S]' }, behavior: 'Isolated', invert: false },
    post_processor: null,
    decoder: { type: 'Fuse' },
    model: { type: 'WordLevel', vocab: Object.fromEntries(vocabulary.map((c, i) => [c, i])), unk_token: ' ' },
  };
}

/** Windows of held-out text whose logits are compared, and characters of each. */
const WINDOWS = 4;
const WINDOW = 64;
/** Largest mean divergence from float, in nats, by bits: a step that goes wrong is far beyond. */
const LARGEST_KL = [
  [/^(fp16|q8|u?int8)$/, 0.002],
  [/^(q4|q4f16|bnb4)$/, 0.03],
  [/^q2/, 0.3],
  [/^q1/, 1.5],
];
/** The same file in two runtimes. */
const LARGEST_BETWEEN = 0.01;

/** Mean Kullback-Leibler divergence of the characters foretold, in nats. */
function divergence(a, b, classes) {
  const logits = [a.flat(), b.flat()];
  const logSoftmax = (x, at) => {
    const row = x.slice(at, at + classes);
    const top = Math.max(...row);
    const sum = Math.log(row.reduce((s, v) => s + Math.exp(v - top), 0)) + top;
    return row.map((v) => v - sum);
  };
  let total = 0;
  const rows = logits[0].length / classes;
  for (let r = 0; r < rows; r++) {
    const [p, q] = logits.map((x) => logSoftmax(x, r * classes));
    total += p.reduce((s, v, i) => s + Math.exp(v) * (v - q[i]), 0);
  }
  return total / rows;
}

/**
 * Logits alone: the text-generation pipeline takes a decoder without a cache, but feeds it the last token only from the second step on, so that it
 * repeats itself.
 */
async function gptBars() {
  const vocabulary = JSON.parse(readFileSync(shared('text-models/shakespeare_vocab.json'), 'utf8'));
  const text = readFileSync(shared('tiny-shakespeare/input.txt'), 'utf8');
  const cut = Math.floor(text.length * 0.9);
  const [train, last] = ['gpt-train.txt', 'gpt-last.txt'].map((f) => join(WORK, f));
  writeFileSync(train, text.slice(0, cut));
  writeFileSync(last, text.slice(cut));
  const write = (folder) => {
    const put = (file, json) => writeFileSync(join(folder, file), JSON.stringify(json));
    put('tokenizer.json', characterTokenizer(vocabulary));
    put('tokenizer_config.json', {
      tokenizer_class: 'PreTrainedTokenizerFast',
      model_max_length: 128,
      clean_up_tokenization_spaces: false,
    });
    put('config.json', { model_type: 'gpt2', vocab_size: vocabulary.length, n_positions: 128, n_embd: 192, n_layer: 6, n_head: 6 });
  };
  const flags = ['--data', train, '--validation', last, '--metric', 'loss', '--limit', '64'];
  report('variants-gpt', makePackage('gpt', 'text-models/shakespeare_gpt.onnx', write, ...flags));
  const texts = Array.from({ length: WINDOWS }, (_, i) => text.slice(cut + 1000 * i, cut + 1000 * i + WINDOW));
  const node = inNode(LOGITS, { texts });
  judgeLogits('variants-gpt-node', node, node.fp32, vocabulary.length);
  if (!existsSync(CHROMIUM)) return figure('variants-gpt-page', `skipped, no browser at ${CHROMIUM} (set PARE_CHROMIUM)`);
  const page = await inPage('variants-gpt-page', LOGITS, { texts });
  judgeLogits('variants-gpt-page', page, node.fp32, vocabulary.length);
  const between = Math.max(...['fp32', ...DTYPES].map((d) => divergence(node[d], page[d], vocabulary.length)));
  atMost('variants-gpt-between', between, LARGEST_BETWEEN, 'nats, Node against page');
}

function judgeLogits(name, answers, float, classes) {
  const failures = [];
  for (const dtype of DTYPES) {
    const kl = divergence(float, answers[dtype], classes);
    figure(`${name}-${dtype}`, `KL ${kl.toPrecision(3)}`);
    const [, most] = LARGEST_KL.find(([names]) => names.test(dtype));
    if (!(kl <= most)) failures.push(`${dtype}: ${kl} nats from float, at most ${most}`);
  }
  check(name, failures);
}

async function bertBars() {
  const files = {
    'text-models/sst2_tokenizer.json': 'tokenizer.json',
    'text-models/config.json': 'config.json',
    'text-models/tokenizer_config.json': 'tokenizer_config.json',
  };
  const write = (folder) => {
    for (const [from, to] of Object.entries(files)) cpSync(shared(from), join(folder, to));
  };
  // Not verified where only the pipeline is asked for: the files are the same.
  const flags = wanted('variants-bert')
    ? ['--data', shared('sst2/train.tsv'), '--validation', shared('sst2/test.tsv'), '--limit', '872']
    : ['--data', shared('sst2/train.tsv'), '--no-verify'];
  const record = makePackage('bert', 'text-models/sst2_bert_mini.onnx', write, ...flags);
  if (wanted('variants-bert')) report('variants-bert', record);
  if (wanted('variants-pipeline-node')) judge('variants-pipeline-node', inNode(CLASSIFY, { rows: labelledRows(872) }));
  if (!wanted('variants-pipeline-page')) return;
  if (!existsSync(CHROMIUM)) return figure('variants-pipeline-page', `skipped, no browser at ${CHROMIUM} (set PARE_CHROMIUM)`);
  judge('variants-pipeline-page', await inPage('variants-pipeline-page', CLASSIFY, { rows: labelledRows(PAGE_ROWS) }));
}

export async function variantBars() {
  if (wanted('variants-gpt')) await gptBars();
  if (['variants-bert', 'variants-pipeline-node', 'variants-pipeline-page'].some(wanted)) await bertBars();
}
