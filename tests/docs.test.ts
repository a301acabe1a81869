// The documentation holds: its TypeScript compiles and runs, its commands have the flags they name, its files and links exist,
// and the list of dependencies is that of package.json.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildProgram } from '../src/cli/main.js';
import type { IndexedDataset } from '../src/data/dataset.js';
import { encodeNpz } from '../src/data/npz.js';
import type { Model } from '../src/ir/model.js';
import { Tensor } from '../src/ir/tensor.js';
import { parseModel } from '../src/ir/text.js';
import { nodeEngine } from '../src/node/engine.js';
import { readModel } from '../src/node/files.js';
import { runPasses } from '../src/pass/manager.js';
import type { Observer } from '../src/quant/observers.js';
import { emptyStatistics } from '../src/quant/statistics.js';
import { applyRules } from '../src/rewrite/driver.js';
import type { Rule } from '../src/rewrite/rule.js';
import { callModule, findChromium, openPage, startBrowser } from './e2e/browser.js';

const chromium = findChromium();
const ROOT = resolve(import.meta.dirname, '..');
/** Inside the repository, so that `pare` resolves to the package itself; ignored by git. */
const WORK = join(ROOT, 'tmp');
/** Folders that the layout names and that have no files yet. */
const RESERVED: ReadonlySet<string> = new Set(['src/targets/']);

const pages = ['README.md', 'CHANGELOG.md', 'examples/README.md']
  .concat(readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' }).map((name) => join('docs', name)))
  .filter((path) => path.endsWith('.md'))
  .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));

interface Sample {
  readonly page: string;
  /** Where the sample would stand: the comment in its first line, else a name made from the page. */
  readonly file: string;
  readonly code: string;
}

const samples: Sample[] = pages.flatMap(({ path, text }) =>
  [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((match, i) => {
    const code = match[1]!;
    const file = /^\/\/ ([\w./-]+\.ts)\n/.exec(code)?.[1] ?? `${path.replace(/\W+/g, '-')}-${i}.ts`;
    return { page: path, file, code };
  }),
);

const CLASSES = 10;
const PIXELS = 28 * 28;

/** Digits number `from` to `to` of each class. */
function digits(from: number, to: number): Uint8Array {
  const folder = join(dirname(createRequire(import.meta.url).resolve('mnist/package.json')), 'src/digits');
  const count = (to - from) * CLASSES;
  const pixels = new Float32Array(count * PIXELS);
  const labels: number[] = [];
  for (let label = 0; label < CLASSES; label++) {
    const { data } = JSON.parse(readFileSync(join(folder, `${label}.json`), 'utf8')) as { data: number[] };
    pixels.set(data.slice(from * PIXELS, to * PIXELS), labels.length * PIXELS);
    labels.push(...new Array<number>(to - from).fill(label));
  }
  return encodeNpz({ image: Tensor.of('float', [count, 1, 28, 28], pixels), labels: Tensor.from('int64', [count], labels) });
}

describe('TypeScript in the documentation', () => {
  let folder = '';
  let compiled: { status: number | null; output: string };

  beforeAll(() => {
    mkdirSync(WORK, { recursive: true });
    folder = mkdtempSync(join(WORK, 'docs-'));
    for (const { file, code } of samples) {
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      writeFileSync(join(folder, file), code);
    }
    // Samples of files inside the repository import their neighbours: both trees count as one.
    const options = {
      noEmit: false,
      declaration: false,
      rootDir: ROOT,
      outDir: join(folder, 'out'),
      rootDirs: [ROOT, folder],
      noEmitOnError: false,
    };
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ extends: join(ROOT, 'tsconfig.json'), compilerOptions: options, files: samples.map((s) => join(folder, s.file)) }),
    );
    const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
    const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', folder, '--pretty', 'false'], { cwd: ROOT, encoding: 'utf8' });
    compiled = { status, output: stdout };
    // A whole compilation: on a busy machine it takes longer than hooks have.
  }, 120_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** The compiled sample, its relative imports led to the build. */
  async function load(file: string): Promise<Record<string, unknown>> {
    const emitted = join(folder, 'out', relative(ROOT, folder), file).replace(/\.ts$/, '.js');
    const code = readFileSync(emitted, 'utf8').replace(/from '(\.[^']+)'/g, (_, path: string) => {
      const inDist = join(ROOT, 'dist', relative('src', join(dirname(file), path)));
      return `from '${pathToFileURL(inDist).href}'`;
    });
    writeFileSync(emitted, code);
    return (await import(/* @vite-ignore */ pathToFileURL(emitted).href)) as Record<string, unknown>;
  }

  it('compiles', () => {
    expect(samples.length).toBeGreaterThan(5);
    const here = compiled.output.split('\n').filter((line) => line.includes(relative(ROOT, folder)));
    expect(here).toEqual([]);
  });

  it('README: quantizes and verifies a model in Node', async () => {
    const emitted = join(folder, 'out', relative(ROOT, folder), 'node-sample.js');
    copyFileSync(join(ROOT, 'examples/digits.onnx'), join(folder, 'model.onnx'));
    writeFileSync(join(folder, 'calib.npz'), digits(0, 5));
    writeFileSync(join(folder, 'test.npz'), digits(800, 810));
    const run = spawnSync(process.execPath, [emitted], { cwd: folder, encoding: 'utf8' });
    expect(run.stderr).toBe('');
    expect(run.stdout).toContain("metric: 'top1'");
    const written = await readModel(join(folder, 'model.int8.onnx'));
    expect(written.metadata.get('pare.verified')).toBe('true');
    expect(written.graph.nodes.find((node) => node.name === 'dense2')?.input(1)?.initializer?.dtype).toBe('float');
  });

  it('distillation: a student comes closer to its teacher', () => {
    const emitted = join(folder, 'out', relative(ROOT, folder), 'distill-sample.js');
    copyFileSync(join(ROOT, 'examples/digits.onnx'), join(folder, 'model.onnx'));
    writeFileSync(join(folder, 'calib.npz'), digits(0, 5));
    const run = spawnSync(process.execPath, [emitted], { cwd: folder, encoding: 'utf8' });
    expect(run.stderr).toBe('');
    const share = /distance from the teacher: ([\d.]+) of what it was/.exec(run.stdout)?.[1];
    expect(Number(share)).toBeLessThan(0.3);
    expect(existsSync(join(folder, 'student.onnx'))).toBe(true);
  });

  it('quantization-aware training: the file holds 4-bit weights behind Q/DQ', async () => {
    const emitted = join(folder, 'out', relative(ROOT, folder), 'qat-sample.js');
    copyFileSync(join(ROOT, 'examples/digits.onnx'), join(folder, 'model.onnx'));
    writeFileSync(join(folder, 'calib.npz'), digits(0, 5));
    const run = spawnSync(process.execPath, [emitted], { cwd: folder, encoding: 'utf8' });
    expect(run.stderr).toBe('');
    expect(run.stdout).toContain('trained: qat');
    const written = await readModel(join(folder, 'w4a8.onnx'));
    expect(written.graph.nodes.some((node) => node.opType === 'QuantizeLinear')).toBe(true);
    expect(written.graph.initializers.some((v) => v.initializer?.dtype === 'int4')).toBe(true);
  });

  it('low rank, adapters, separable convolutions: the samples print what the pages say', () => {
    const run = (file: string) => {
      const emitted = join(folder, 'out', relative(ROOT, folder), file);
      const { stdout, stderr } = spawnSync(process.execPath, [emitted], { cwd: folder, encoding: 'utf8' });
      expect(stderr).toBe('');
      return stdout;
    };
    const [share] = run('lowrank-sample.js').split(' ');
    expect(Number(share)).toBeGreaterThan(0.2);
    expect(Number(share)).toBeLessThanOrEqual(0.6);
    expect(Number(/largest difference (\S+)/.exec(run('lora-sample.js'))?.[1])).toBeLessThan(1e-4);
    expect(run('separable-sample.js').trim()).toBe('73728 against 8768 weights');
  });

  it.skipIf(!chromium)(
    'README: shrinks a model in a browser',
    async () => {
      const out = join(folder, 'out', relative(ROOT, folder));
      writeFileSync(
        join(out, 'page.js'),
        `import { shrink } from './web-sample.js';
         export async function run() {
           const before = await (await fetch('/examples/digits.onnx')).blob();
           const after = await shrink(new File([before], 'model.onnx'));
           return [before.size, after.size];
         }`,
      );
      const setup = await startBrowser(chromium!, { samples: out, examples: join(ROOT, 'examples') });
      const { page, problems } = await openPage(setup.browser, setup.url);
      const [before, after] = (await callModule(page, `${setup.url}/samples/page.js`, 'run', {})) as [number, number];
      await setup.close();
      expect(problems).toEqual([]);
      expect(after).toBeLessThan(before / 2);
    },
    120_000,
  );

  it('add-a-pass: the pass names nodes, and the rule fires and says why it does not', async () => {
    const { nameNodes } = await load('src/passes/names/name-nodes.ts');
    const model = parseModel('<ir_version: 10, opset_import: ["" : 21]> g (float[N,4] x) => (float[N,4] y) { a = Relu (x) y = Relu (a) }');
    const pass = (nameNodes as (options: object) => Parameters<typeof runPasses>[1][number])({ prefix: 'my_' });
    const { model: named, records } = await runPasses(model, [pass], { engine: await nodeEngine() });
    expect([...named.graph.nodes].map((node) => node.name)).toEqual(['my_Relu_0', 'my_Relu_1']);
    expect(records[0]?.notes).toEqual({ named: 2 });

    const { ROOT_RULES } = await load('src/passes/simplify/square-root.ts');
    const rules = ROOT_RULES as readonly Rule[];
    const square = (outputs: string) =>
      parseModel(`<ir_version: 10, opset_import: ["" : 21]> g (float[N,4] x) => (${outputs}) { m = Mul (x, x) y = Sqrt (m) }`);
    const alone = square('float[N,4] y');
    expect(applyRules(alone, rules)[0]?.hits).toBe(1);
    expect([...alone.graph.nodes].map((node) => node.opType)).toEqual(['Abs']);
    expect(applyRules(square('float[N,4] y, float[N,4] m'), rules)[0]?.misses[0]?.reason).toMatch(/another reader/);
  });

  it('add-a-quantizer: the observer widens the range', async () => {
    const { HEADROOM } = await load('src/quant/headroom.ts');
    const statistics = { ...emptyStatistics(), min: -2, max: 4, batches: 1 };
    const range = (HEADROOM as Observer).range(statistics, { scheme: { dtype: 'uint8', symmetry: 'asymmetric' }, percentile: 100 });
    expect(range.min).toBeCloseTo(-2.2);
    expect(range.max).toBeCloseTo(4.4);
  });

  it('add-a-data-reader: the reader serves samples, and refuses a cut file', async () => {
    const { rawFloats: read } = await load('src/data/raw-floats.ts');
    const rawFloats = read as (name: string, bytes: Uint8Array, model: Model) => IndexedDataset;
    const model = await readModel(join(ROOT, 'examples/digits.onnx'));
    expect(rawFloats('x.f32', new Uint8Array(3 * PIXELS * 4), model).size).toBe(3);
    expect(() => rawFloats('x.f32', new Uint8Array(5), model)).toThrow('expected samples of 3136 bytes');
  });
});

describe('what the documentation names', () => {
  it('commands and flags exist', async () => {
    const program = await buildProgram();
    const flagsOf = (name: string) => program.commands.find((c) => c.name() === name)?.options.flatMap((o) => [o.long, o.short]) ?? [];
    const wrong: string[] = [];
    for (const { path, text } of pages) {
      const joined = text.replace(/\\\n\s*/g, ' ');
      for (const [line, name] of joined.matchAll(/^(?:npx )?pare (\w+) .*$/gm)) {
        if (!program.commands.some((c) => c.name() === name)) wrong.push(`${path}: pare ${name}`);
        for (const [, flag] of line.matchAll(/ (-{1,2}[a-z][\w-]*)/g))
          if (!flagsOf(name!).includes(flag)) wrong.push(`${path}: pare ${name} ${flag}`);
      }
      const all = new Set([...program.commands.flatMap((c) => flagsOf(c.name())), '--help', '--version']);
      for (const [, flag] of text.matchAll(/`(--[a-z][\w-]*)[^`]*`/g)) {
        const plain = flag!.replace(/^--no-/, '--');
        if (!all.has(flag) && !all.has(plain) && !all.has(flag!.replace(/^--/, '--no-'))) wrong.push(`${path}: ${flag}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('files and links exist', () => {
    const written = new Set(samples.map((s) => s.file));
    const wrong: string[] = [];
    for (const { path, text } of pages) {
      for (const [, file] of text.matchAll(/`((?:src|tests|bench|docs|examples)\/[\w./-]+)`/g))
        if (!existsSync(join(ROOT, file!)) && !written.has(file!) && !RESERVED.has(file!)) wrong.push(`${path}: ${file}`);
      for (const [, link] of text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g))
        if (!/^https?:/.test(link!) && !existsSync(join(ROOT, dirname(path), link!))) wrong.push(`${path}: link ${link}`);
    }
    expect(wrong).toEqual([]);
  });

  it('dependencies are those of package.json', () => {
    const { dependencies, devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<
      string,
      Record<string, string>
    >;
    const text = pages.find((p) => p.path.endsWith('dependencies.md'))!.text;
    const listed = [...text.matchAll(/^\| ([^|]+) \|/gm)]
      .flatMap((m) => m[1]!.replace(/\(.*\)/, '').split(','))
      .map((name) => name.trim())
      .filter((name) => name !== 'package' && !/^-+$/.test(name));
    expect([...new Set(listed)].sort()).toEqual(Object.keys({ ...dependencies, ...devDependencies }).sort());
  });
});
