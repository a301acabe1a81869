// Every operator sample: each file of ops/ exports SAMPLES.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { OpSample } from './op-sample.js';

const FOLDER = join(import.meta.dirname, 'ops');

/** All samples with the file they come from, files in alphabetical order. */
export async function allSamples(): Promise<{ file: string; sample: OpSample }[]> {
  const files = readdirSync(FOLDER)
    .filter((name) => name.endsWith('.ts'))
    .sort();
  const loaded = await Promise.all(
    files.map(async (file) => ({ file, ...((await import(join(FOLDER, file))) as { SAMPLES: readonly OpSample[] }) })),
  );
  return loaded.flatMap(({ file, SAMPLES }) => SAMPLES.map((sample) => ({ file, sample })));
}

/** Name of a sample in test output. */
export function sampleName(sample: OpSample): string {
  const op = sample.domain ? `${sample.domain}.${sample.op}` : sample.op;
  const version = sample.opset === undefined ? '' : ` @${sample.opset}`;
  return `${op}${version}${sample.label ? ` (${sample.label})` : ''}`;
}
