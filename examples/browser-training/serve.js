// `node examples/browser-training/serve.js [PORT]`: serves the repository for the example page. The headers isolate the page from other origins, which is
// what lets WebAssembly use threads. Needs `npm run build`.
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize, resolve, sep } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');
const PAGE = '/examples/browser-training/';
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};
const SERVED = ['dist', 'examples', 'node_modules'];

const server = createServer((request, response) => {
  const headers = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
  const { pathname } = new URL(request.url ?? '/', 'http://localhost');
  if (pathname === '/') return response.writeHead(302, { Location: PAGE }).end();
  const file = normalize(join(ROOT, decodeURIComponent(pathname), pathname.endsWith('/') ? 'index.html' : ''));
  const served = SERVED.some((folder) => file.startsWith(join(ROOT, folder) + sep));
  if (!served || !statSync(file, { throwIfNoEntry: false })?.isFile())
    return response.writeHead(404, headers).end(`no such file: ${pathname}`);
  response.writeHead(200, { ...headers, 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' });
  return createReadStream(file).pipe(response);
});
server.listen(Number(process.argv[2] ?? 8080), '127.0.0.1', () => console.log(`http://localhost:${server.address().port}${PAGE}`));
