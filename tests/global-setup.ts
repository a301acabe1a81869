// Builds dist/ once before the tests, so that those that run the command line or a browser page never see a stale build.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

export function setup(): void {
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
  // Type errors are the business of `npm run types`: what was emitted is tested either way.
  spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--noEmitOnError', 'false'], { stdio: 'ignore' });
}
