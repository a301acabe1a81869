// The file set for transformers.js, made from the shared BERT and the shared GPT: every file loads in Node and as WebAssembly, classifies through the
// text-classification pipeline in Node and in headless Chromium, and its accuracy is printed. Figures without a bar are for reading.
import { spawnSync } from 'node:child_process';
import { cpSync, createReadStream, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, resolve } from 'node:path';
import { check, figure, wanted } from '../lib/bars.js';
import { pare, shared, WORK } from '../lib/pare.js';

const ROOT = resolve(import.meta.dirname, '../..');
const DTYPES = ['fp16', 'q8', 'int8', 'uint8', 'q4', 'q4f16', 'bnb4', 'q2', 'q2f16', 'q1', 'q1f16'];
const CHROMIUM = process.env.PARE_CHROMIUM ?? '/usr/bin/chromium';
const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

const CLASSIFY = `
const answers = {};
for (const dtype of dtypes) {
  const classify = await pipeline('text-classification', 'bert', { dtype, ...more });
  let right = 0;
  for (let i = 0; i < rows.length; i += 16) {
    const part = rows.slice(i, i + 16);
    const labels = await classify(part.map((r) => r.text));
    right += labels.filter((l, k) => (l.label === 'POSITIVE' ? 1 : 0) === part[k].label).length;
  }
  answers[dtype] = right / rows.length;
  await classify.dispose();
}
`;

const IN_NODE = `
import { env, pipeline } from '@huggingface/transformers';
import { readFileSync } from 'node:fs';
const { folder, dtypes, rows } = JSON.parse(readFileSync(0, 'utf8'));
env.allowRemoteModels = false;
env.localModelPath = folder;
const more = {};
${CLASSIFY}
process.stdout.write(JSON.stringify(answers));
`;

const PAGE = `<!doctype html><script type="module">
import { env, pipeline } from '/node_modules/@huggingface/transformers/dist/transformers.min.js';
env.allowLocalModels = true;
env.allowRemoteModels = false;
env.useBrowserCache = false;
env.localModelPath = '/models/';
env.backends.onnx.wasm.wasmPaths = '/node_modules/@huggingface/transformers/node_modules/onnxruntime-web/dist/';
globalThis.run = async ({ dtypes, rows }) => { const more = { device: 'wasm' }; ${CLASSIFY} return answers; };
</script>`;

/** Makes a package and its variants; answers the record. */
function makePackage(name, model, files, ...options) {
  const folder = join(WORK, `${name}-source`);
  mkdirSync(join(folder, 'onnx'), { recursive: true });
  cpSync(shared(model), join(folder, 'onnx/model.onnx'));
  for (const [from, to] of Object.entries(files)) cpSync(shared(from), join(folder, to));
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
    const score = cpu.metric ? `${cpu.metric.name} ${(cpu.metric.after * 100).toFixed(2)} %` : `KL ${cpu.kl?.toPrecision(3)}`;
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

function inNode(rows) {
  const input = JSON.stringify({ folder: WORK, dtypes: ['fp32', ...DTYPES], rows });
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', IN_NODE], {
    encoding: 'utf8',
    cwd: ROOT,
    input,
    maxBuffer: 2 ** 26,
  });
  if (run.status !== 0) throw new Error(run.stderr);
  return JSON.parse(run.stdout);
}

async function inBrowser(rows) {
  const { chromium } = await import('playwright-core');
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    const headers = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
    if (path === '/') return response.writeHead(200, { ...headers, 'Content-Type': 'text/html' }).end(PAGE);
    const file = path.startsWith('/models/') ? join(WORK, path.slice(8)) : join(ROOT, path);
    if (path.includes('..') || !existsSync(file) || !statSync(file).isFile()) return response.writeHead(404, headers).end();
    response.writeHead(200, { ...headers, 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' });
    return createReadStream(file).pipe(response);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic'],
  });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.waitForFunction('globalThis.run !== undefined');
    return await page.evaluate((argument) => globalThis.run(argument), { dtypes: ['fp32', ...DTYPES], rows });
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
}

export async function variantBars() {
  if (wanted('variants-gpt'))
    report('variants-gpt', makePackage('gpt', 'text-models/shakespeare_gpt.onnx', {}, '--shape', 'input_ids=1,64'));
  if (!wanted('variants-bert') && !wanted('variants-pipeline')) return;
  const files = {
    'text-models/sst2_tokenizer.json': 'tokenizer.json',
    'text-models/config.json': 'config.json',
    'text-models/tokenizer_config.json': 'tokenizer_config.json',
  };
  report(
    'variants-bert',
    makePackage(
      'bert',
      'text-models/sst2_bert_mini.onnx',
      files,
      '--data',
      shared('sst2/train.tsv'),
      '--validation',
      shared('sst2/test.tsv'),
      '--limit',
      '872',
    ),
  );
  judge('variants-pipeline-node', inNode(labelledRows(872)));
  if (!existsSync(CHROMIUM)) return figure('variants-pipeline-page', `skipped, no browser at ${CHROMIUM} (set PARE_CHROMIUM)`);
  judge('variants-pipeline-page', await inBrowser(labelledRows(PAGE_ROWS)));
}
