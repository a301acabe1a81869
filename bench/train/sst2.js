// SST-2's training phrases without those that are sentences of the test set: the two overlap.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { figure } from '../lib/bars.js';
import { shared, WORK } from '../lib/pare.js';

const lines = (path) => readFileSync(shared(path), 'utf8').split('\n').filter(Boolean);
const text = (row) => row.split('\t')[0].trim().toLowerCase().replace(/\s+/g, ' ');

function rowsWithoutTest(name) {
  const [header, ...train] = lines('sst2/train.tsv');
  const held = new Set(lines('sst2/test.tsv').slice(1).map(text));
  const kept = train.filter((row) => !held.has(text(row)));
  figure(`  ${name} rows`, `${kept.length} of ${train.length}: ${train.length - kept.length} are sentences of the test set`);
  return { header, kept };
}

function write(name, header, rows) {
  const path = join(WORK, name);
  writeFileSync(path, `${[header, ...rows].join('\n')}\n`);
  return path;
}

/** Writes the rows as a file and answers its path; says under `name` how many were left out. */
export function withoutTestSentences(name) {
  const { header, kept } = rowsWithoutTest(name);
  return write('sst2-train.tsv', header, kept);
}

/** The same as two files: the last `count` rows are not trained on, so that an epoch can be chosen by them. */
export function trainingAndHeldOut(name, count) {
  const { header, kept } = rowsWithoutTest(name);
  return { train: write('sst2-rest.tsv', header, kept.slice(0, -count)), held: write('sst2-held.tsv', header, kept.slice(-count)) };
}
