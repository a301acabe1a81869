// A page with transformers.js in headless Chromium, served from this machine: isolated, so that WebAssembly threads are allowed.
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');

export const CHROMIUM = process.env.PARE_CHROMIUM ?? '/usr/bin/chromium';

const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

/** `body` is the code of an async function of `argument` that sees what transformers.js exports as `transformers`. Models come from `/models/`. */
const pageOf = (body) => `<!doctype html><script type="module">
import * as transformers from '/node_modules/@huggingface/transformers/dist/transformers.min.js';
const { env } = transformers;
env.allowLocalModels = true;
env.allowRemoteModels = false;
env.useBrowserCache = false;
env.localModelPath = '/models/';
env.backends.onnx.wasm.wasmPaths = '/node_modules/@huggingface/transformers/node_modules/onnxruntime-web/dist/';
globalThis.run = async (argument) => { ${body} };
</script>`;

/** Opens the page and hands `use` a function that runs the body with an argument. */
export async function withPage(models, body, use) {
  const { chromium } = await import('playwright-core');
  const page = pageOf(body);
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    const headers = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
    if (path === '/') return response.writeHead(200, { ...headers, 'Content-Type': 'text/html' }).end(page);
    const file = path.startsWith('/models/') ? join(models, path.slice(8)) : join(ROOT, path);
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
    const opened = await browser.newPage();
    await opened.goto(`http://127.0.0.1:${server.address().port}/`);
    await opened.waitForFunction('globalThis.run !== undefined');
    return await use((argument) => opened.evaluate((a) => globalThis.run(a), argument));
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
}
