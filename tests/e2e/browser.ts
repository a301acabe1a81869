// A real browser for tests: finds Chromium, serves the build with its dependencies under one import map (nothing bundled), and opens pages.
// Tests skip where there is no Chromium; PARE_CHROMIUM names one that is not where it usually is.
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize, resolve, sep } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';

const ROOT = resolve(import.meta.dirname, '../..');

const CANDIDATES = [
  process.env.PARE_CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
];

/** Path of a Chromium, or undefined; says on standard error that tests are skipped. */
export function findChromium(): string | undefined {
  const found = CANDIDATES.find((path) => path !== undefined && existsSync(path));
  if (found === undefined) process.stderr.write('browser tests are skipped: no Chromium was found (set PARE_CHROMIUM to its path)\n');
  return found;
}

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** WebGPU computed on the CPU, for machines without a GPU. */
const SOFTWARE_GPU_FLAGS = ['--enable-unsafe-webgpu', '--enable-unsafe-swiftshader', '--use-webgpu-adapter=swiftshader'];

/** Starts Chromium, with WebGPU in software where asked for; the caller closes it. */
export function launchBrowser(executablePath: string, options: { readonly softwareGpu?: boolean } = {}): Promise<Browser> {
  const args = options.softwareGpu ? [...FLAGS.filter((f) => f !== '--disable-gpu'), ...SOFTWARE_GPU_FLAGS] : FLAGS;
  return chromium.launch({ executablePath, args });
}

/** The build, which the global setup of the tests has made. */
export const DIST = join(ROOT, 'dist');

/** Dependencies that only Node can load. */
const NODE_ONLY = new Set(['onnxruntime-node', 'sharp', 'commander']);

interface Manifest {
  readonly exports?: unknown;
  readonly module?: string;
  readonly main?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8')) as Manifest;
}

/** The file that a browser imports of a package, by its `exports`. */
function browserEntry(name: string, manifest: Manifest): string {
  const pick = (entry: unknown): string | undefined => {
    if (typeof entry === 'string') return entry;
    if (typeof entry !== 'object' || entry === null) return undefined;
    const conditions = entry as Readonly<Record<string, unknown>>;
    for (const condition of ['.', 'browser', 'import', 'default']) {
      const found = pick(conditions[condition]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  const file = pick(manifest.exports) ?? manifest.module ?? manifest.main ?? 'index.js';
  return `/node_modules/${name}/${file.replace(/^\.\//, '')}`;
}

/** Entries of a package's dependencies and theirs. */
function addEntries(manifest: Manifest, into: Record<string, string>): void {
  for (const name of Object.keys(manifest.dependencies ?? {})) {
    if (NODE_ONLY.has(name) || into[name] !== undefined) continue;
    const dependency = readManifest(join('node_modules', name));
    into[name] = browserEntry(name, dependency);
    addEntries(dependency, into);
  }
}

/** What a page resolves bare imports to. Modules of the build are imported by path: `pare/onnx/decode.js`. */
export function importMap(): { readonly imports: Readonly<Record<string, string>> } {
  const dependencies: Record<string, string> = {};
  addEntries(readManifest('.'), dependencies);
  return {
    imports: {
      ...dependencies,
      pare: '/dist/index.js',
      'pare/web': '/dist/web/index.js',
      'pare/': '/dist/',
      'onnxruntime-web': '/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs',
      'onnxruntime-web/webgpu': '/node_modules/onnxruntime-web/dist/ort.webgpu.min.mjs',
    },
  };
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

export interface TestServer {
  readonly url: string;
  close(): Promise<void>;
}

const page = () => `<!doctype html><meta charset="utf-8"><title>test</title><link rel="icon" href="data:,">
<script type="importmap">${JSON.stringify(importMap())}</script>`;

/**
 * Serves folders by the first part of the path (`{ models: '/tmp/x' }` under /models/), the build and node_modules among them, and an empty page with the import map
 * at /. Pages are isolated from other origins, so WebAssembly threads work.
 */
export async function serveFolders(folders: Readonly<Record<string, string>>): Promise<TestServer> {
  const all: Readonly<Record<string, string>> = { dist: DIST, node_modules: join(ROOT, 'node_modules'), ...folders };
  const server = createServer((request, response) => {
    const headers = {
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
      'Cache-Control': 'no-store',
    };
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
    if (path === '/') {
      response.writeHead(200, { ...headers, 'Content-Type': 'text/html; charset=utf-8' }).end(page());
      return;
    }
    const [first = '', ...rest] = path.slice(1).split('/');
    const root = all[first];
    const file = root === undefined ? undefined : normalize(join(root, ...rest));
    if (root === undefined || file === undefined || !file.startsWith(normalize(root) + sep) || !isFile(file)) {
      response.writeHead(404, headers).end(`no such file: ${path}`);
      return;
    }
    response.writeHead(200, { ...headers, 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' });
    createReadStream(file).pipe(response);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((done) => {
        server.closeAllConnections();
        server.close(() => done());
      }),
  };
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

export interface TestPage {
  readonly page: Page;
  /** Errors thrown in the page, failed requests and console errors so far: expect it to be empty. */
  readonly problems: readonly string[];
}

/** Opens a page that notes everything that goes wrong in it. */
export async function openPage(browser: Browser, url: string): Promise<TestPage> {
  const page = await browser.newPage();
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(`thrown: ${error.message}`));
  page.on('requestfailed', (request) => problems.push(`failed: ${request.url()}`));
  page.on('response', (response) => {
    if (response.status() >= 400) problems.push(`${response.status()}: ${response.url()}`);
  });
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) problems.push(`console: ${message.text()}`);
  });
  await page.goto(url);
  return { page, problems };
}

/** Calls a function exported by a module that the server serves, with an argument that JSON can hold; answers what it resolves to. */
export function callModule(page: Page, path: string, name: string, argument: unknown): Promise<unknown> {
  // As text, because a dynamic import in a function would be rewritten for Node by the test runner.
  return page.evaluate(`import(${JSON.stringify(path)}).then((m) => m[${JSON.stringify(name)}](${JSON.stringify(argument)}))`);
}

export interface BrowserSetup {
  readonly browser: Browser;
  /** Root of the server: /dist/, /node_modules/ and the folders given. */
  readonly url: string;
  close(): Promise<void>;
}

/** All of it: serves and launches. For `beforeAll`; call `close` in `afterAll`. */
export async function startBrowser(executablePath: string, folders: Readonly<Record<string, string>> = {}): Promise<BrowserSetup> {
  const server = await serveFolders(folders);
  const browser = await launchBrowser(executablePath);
  return {
    browser,
    url: server.url,
    close: async () => {
      await browser.close();
      await server.close();
    },
  };
}
