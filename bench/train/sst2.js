// SST-2's training phrases without those that are sentences of the test set: the two overlap.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { figure } from '../lib/bars.js';
import { shared, WORK } from '../lib/pare.js';

const lines = (path) => readFileSync(shared(path), 'utf8').split('\n').filter(Boolean);
const text = (row) => row.split('\t')[0].trim().toLowerCase().replace(/\s+/g, ' ');

/** Writes the rows as a file and answers its path; says under `name` how many were left out. */
export function withoutTestSentences(name) {
  const [header, ...train] = lines('sst2/train.tsv');
  const held = new Set(lines('sst2/test.tsv').slice(1).map(text));
  const kept = train.filter((row) => !held.has(text(row)));
  const path = join(WORK, 'sst2-train.tsv');
  writeFileSync(path, `${[header, ...kept].join('\n')}\n`);
  figure(`  ${name} rows`, `${kept.length} of ${train.length}: ${train.length - kept.length} are sentences of the test set`);
  return path;
}
