// Writes the pages of docs/ that follow from the code: `npm run build && npm run docs`.
import { writeFileSync } from 'node:fs';
import { ALL_OPS } from '../dist/ops/registry.js';
import { operatorTable } from './lib/operator-table.js';

const PAGES = [{ path: 'operators.md', render: () => operatorTable(ALL_OPS) }];

for (const { path, render } of PAGES) {
  writeFileSync(new URL(`../docs/${path}`, import.meta.url), render());
  console.log(`wrote docs/${path}`);
}
