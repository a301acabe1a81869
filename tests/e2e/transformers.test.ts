// Every file of `pare variants` through transformers.js itself: its text-classification pipeline in Node and in a page (WebAssembly), on the runtimes it ships.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VARIANT_NAMES } from '../../src/recipe/variants/plan.js';
import { classifierModel } from '../samples/variant-models.js';
import { type BrowserSetup, callModule, findChromium, openPage, startBrowser } from './browser.js';
import { writePackage } from './package-folder.js';

const BIN = join(import.meta.dirname, '../../bin/pare.js');
const DTYPES = ['fp32', ...VARIANT_NAMES];
const TEXTS = ['good one', 'a bad film', 'xyz'];

interface Answer {
  readonly label: string;
  readonly score: number;
}

const folder = mkdtempSync(join(tmpdir(), 'pare-transformers-'));
let node: Record<string, Answer[]>;

/** Scores of the positive class. */
const positive = (answers: readonly Answer[]) => answers.map((a) => (a.label === 'POSITIVE' ? a.score : 1 - a.score));

/** Runs in a process of its own, as its environment is global. */
const IN_NODE = `
import { env, pipeline } from '@huggingface/transformers';
const [folder, dtypes, texts] = JSON.parse(process.argv[1]);
env.allowRemoteModels = false;
env.localModelPath = folder;
const answers = {};
for (const dtype of [...dtypes, undefined]) {
  const classify = await pipeline('text-classification', 'result', { dtype });
  answers[dtype ?? 'default'] = await classify(texts);
  await classify.dispose();
}
process.stdout.write(JSON.stringify(answers));
`;

const IN_PAGE = `
import { env, pipeline } from '/node_modules/@huggingface/transformers/dist/transformers.min.js';
export async function run({ dtypes, texts }) {
  env.allowLocalModels = true;
  env.allowRemoteModels = false;
  env.useBrowserCache = false;
  env.localModelPath = '/models/';
  env.backends.onnx.wasm.wasmPaths = '/node_modules/@huggingface/transformers/node_modules/onnxruntime-web/dist/';
  const answers = {};
  for (const dtype of [...dtypes, undefined]) {
    const classify = await pipeline('text-classification', 'result', { dtype, device: 'wasm' });
    answers[dtype ?? 'default'] = await classify(texts);
    await classify.dispose();
  }
  return answers;
}
`;

beforeAll(() => {
  writePackage(join(folder, 'source'), { 'onnx/model.onnx': classifierModel() });
  const made = spawnSync(process.execPath, [BIN, 'variants', 'source', '-o', 'result', '--no-verify', '--dtype', 'q4'], {
    encoding: 'utf8',
    cwd: folder,
  });
  expect(made.stderr).not.toContain('E_');
  const external = spawnSync(
    process.execPath,
    [BIN, 'variants', 'result', '-o', 'result', '--no-verify', '--force', '--dtypes', 'q8', '--external', '--max-file-bytes', '12kB'],
    { encoding: 'utf8', cwd: folder },
  );
  expect(external.stderr).not.toContain('E_');
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', IN_NODE, JSON.stringify([folder, DTYPES, TEXTS])], {
    encoding: 'utf8',
    cwd: join(import.meta.dirname, '../..'),
  });
  expect(run.status, run.stderr).toBe(0);
  node = JSON.parse(run.stdout);
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function expectNear(answers: Record<string, Answer[]>): void {
  const float = positive(answers.fp32!);
  for (const dtype of DTYPES) {
    const scores = positive(answers[dtype]!);
    const most = dtype === 'fp32' ? 0 : /^(fp16|q8|.?int8)$/.test(dtype) ? 0.02 : /4/.test(dtype) ? 0.2 : 1;
    scores.forEach((s, i) => {
      expect(s).toBeGreaterThanOrEqual(0);
      expect(Math.abs(s - float[i]!), `${dtype} "${TEXTS[i]}"`).toBeLessThanOrEqual(most);
    });
  }
}

test('in Node every dtype loads and classifies, and config.json chooses the default', () => {
  expect(Object.keys(node)).toEqual([...DTYPES, 'default']);
  expectNear(node);
  expect(node.default).toEqual(node.q4);
});

const chromium = findChromium();

describe.skipIf(!chromium)('in a page', () => {
  let setup: BrowserSetup;

  beforeAll(async () => {
    writeFileSync(join(folder, 'page.js'), IN_PAGE);
    setup = await startBrowser(chromium!, { models: folder });
  }, 60_000);

  afterAll(() => setup?.close());

  test('every dtype loads as WebAssembly and answers what it answers in Node', async () => {
    const { page, problems } = await openPage(setup.browser, setup.url);
    const answers = (await callModule(page, `${setup.url}/models/page.js`, 'run', { dtypes: DTYPES, texts: TEXTS })) as Record<
      string,
      Answer[]
    >;
    expectNear(answers);
    for (const dtype of [...DTYPES, 'default']) {
      const own = positive(answers[dtype]!);
      for (const [i, s] of positive(node[dtype]!).entries()) expect(Math.abs(own[i]! - s), `${dtype} "${TEXTS[i]}"`).toBeLessThan(0.02);
    }
    expect(problems.filter((p) => !/404/.test(p))).toEqual([]);
    await page.close();
  }, 120_000);
});
