// The rules of docs/architecture.md that a machine can check: who may import whom, what the core must not touch, names and sizes of files.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { describe, expect, it } from 'vitest';

const SRC = resolve(import.meta.dirname, '../src');
const MAX_LINES = 500;

/** Layers from the bottom up; a file may import from its own layer's folder and from any lower layer. */
const LAYERS: readonly (readonly string[])[] = [
  ['errors', 'util'],
  ['ir'],
  ['onnx', 'ops', 'rewrite'],
  ['runtime', 'data'],
  ['analysis'],
  ['quant'],
  ['pass'],
  ['train', 'nn'],
  ['passes', 'pack', 'targets'],
  ['recipe', 'report'],
  ['index'],
  ['node', 'web'],
  ['cli'],
];
/** Which folder may use another one of its own layer; types may always be shared within a layer. */
const WITHIN_LAYER: Readonly<Record<string, readonly string[]>> = {
  util: ['errors'],
  runtime: ['data'],
  report: ['recipe'],
  node: ['web'],
};
/** Packages with native code or Node's own interfaces: only what runs in Node may import them. */
const NATIVE = /^(node:|onnxruntime-|sharp$|commander$)/;
const OUTSIDE_CORE = new Set(['node', 'cli']);

interface Import {
  readonly from: string;
  readonly typeOnly: boolean;
}

interface SourceFile {
  readonly path: string;
  readonly folder: string;
  readonly text: string;
  readonly isTest: boolean;
  readonly imports: readonly Import[];
}

const files: SourceFile[] = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => {
    const path = name.split(sep).join('/');
    const text = readFileSync(join(SRC, name), 'utf8');
    const folder = path.includes('/') ? path.split('/')[0]! : path.replace(/\.ts$/, '');
    return { path, folder, text, isTest: path.endsWith('.test.ts'), imports: importsOf(text) };
  });
const sources = files.filter((file) => !file.isTest);

function importsOf(text: string): Import[] {
  const found = [...text.matchAll(/^\s*(?:import|export)\s+(type\s)?[^'"`;]*?from\s+['"]([^'"]+)['"]/gm)].map((m) => ({
    typeOnly: Boolean(m[1]),
    from: m[2]!,
  }));
  const bare = [...text.matchAll(/^\s*import\s+['"]([^'"]+)['"]/gm), ...text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g)];
  return [...found, ...bare.map((m) => ({ typeOnly: false, from: m[1]! }))];
}

const layerOf = (folder: string) => LAYERS.findIndex((layer) => layer.includes(folder));

/** Top folder (or file) under src/ that a relative import leads to. */
function targetOf(file: SourceFile, specifier: string): string {
  const path = relative(SRC, resolve(SRC, file.path, '..', specifier))
    .split(sep)
    .join('/');
  return path.includes('/') ? path.split('/')[0]! : path.replace(/\.js$/, '');
}

/** Technique a path under passes/ belongs to. */
const techniqueOf = (path: string) => /^passes\/([^/]+)\//.exec(path)?.[1];

const problems = (check: (file: SourceFile) => Iterable<string>, among = sources) =>
  among.flatMap((file) => [...check(file)].map((p) => `${file.path}: ${p}`));

describe('architecture', () => {
  it('has a layer for every folder', () => {
    expect([...new Set(files.map((file) => file.folder))].filter((folder) => layerOf(folder) < 0)).toEqual([]);
  });

  it('imports downwards only', () => {
    const upward = problems(function* (file) {
      for (const { from, typeOnly } of file.imports) {
        if (!from.startsWith('.')) continue;
        const target = targetOf(file, from);
        const [own, other] = [layerOf(file.folder), layerOf(target)];
        if (target === file.folder || other < own) continue;
        if (other === own && (typeOnly || WITHIN_LAYER[file.folder]?.includes(target))) continue;
        yield `imports ${from} (${target} is not below ${file.folder})`;
      }
    });
    expect(upward).toEqual([]);
  });

  it('keeps techniques apart: none imports another, but for simplify', () => {
    const across = problems(function* (file) {
      const own = techniqueOf(file.path);
      if (own === undefined) return;
      for (const { from } of file.imports) {
        if (!from.startsWith('.')) continue;
        const path = relative(SRC, resolve(SRC, file.path, '..', from))
          .split(sep)
          .join('/');
        const other = techniqueOf(path);
        if (other !== undefined && other !== own && other !== 'simplify') yield `imports ${from}`;
      }
    });
    expect(across).toEqual([]);
  });

  it('runs its core anywhere: no Node and no native package outside node/ and cli/', () => {
    const native = problems(function* (file) {
      if (OUTSIDE_CORE.has(file.folder)) return;
      for (const { from, typeOnly } of file.imports) {
        if (!NATIVE.test(from) || (file.folder === 'web' && /^onnxruntime-(web|common)/.test(from))) continue;
        // Types vanish when compiled.
        if (!(typeOnly && from === 'onnxruntime-common')) yield `imports ${from}`;
      }
      const code = file.text.replaceAll(/\/\/[^\n]*|\/\*[\s\S]*?\*\//g, '');
      if (/\bBuffer\.|\bprocess\.|\brequire\(|\b__dirname\b/.test(code)) yield 'uses a global of Node';
    });
    expect(native).toEqual([]);
  });

  it('prints nothing outside the command line', () => {
    const printing = problems(function* (file) {
      if (file.folder === 'cli') return;
      const code = file.text.replaceAll(/\/\/[^\n]*|\/\*[\s\S]*?\*\//g, '');
      if (/\bconsole\.(log|error|warn|info|debug)\(/.test(code)) yield 'calls console';
    });
    expect(printing).toEqual([]);
  });

  it('has neither default exports nor enums nor namespaces nor any', () => {
    const found = problems(function* (file) {
      const code = file.text.replaceAll(/\/\/[^\n]*|\/\*[\s\S]*?\*\//g, '');
      if (/^\s*export\s+default\b/m.test(code)) yield 'has a default export';
      if (/^\s*(export\s+)?(declare\s+)?(const\s+)?enum\s+\w+\s*\{/m.test(code)) yield 'has an enum';
      if (/^\s*(export\s+)?(declare\s+)?namespace\s+\w+/m.test(code)) yield 'has a namespace';
      if (/@ts-(ignore|nocheck|expect-error)/.test(file.text)) yield 'silences the compiler';
    }, files);
    expect(found).toEqual([]);
  });

  it('names files in kebab-case and ends local imports in .js', () => {
    const found = problems(function* (file) {
      if (!/^([a-z0-9]+(-[a-z0-9]+)*\/)*[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/.test(file.path)) yield 'is not named in kebab-case';
      for (const { from } of file.imports) if (from.startsWith('.') && !from.endsWith('.js')) yield `imports ${from} without .js`;
    }, files);
    expect(found).toEqual([]);
  });

  it('keeps files short and opens each with a comment that says what it is', () => {
    const found = problems(function* (file) {
      const lines = file.text.split('\n').length;
      if (lines > MAX_LINES + 60) yield `has ${lines} lines: expected about ${MAX_LINES} at most`;
      if (!file.text.startsWith('//') && file.text.trim() !== '') yield 'does not open with a comment';
    });
    expect(found).toEqual([]);
  });
});
