// docs/operators.md is generated: it must say what the records say.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { OpRecord } from '../src/ops/op.js';
import { ALL_OPS } from '../src/ops/registry.js';

const ROOT = join(import.meta.dirname, '..');

test('the operator page is current (npm run docs) and lists at least 150 operators', async () => {
  const module: unknown = await import(join(ROOT, 'bench/lib/operator-table.js'));
  const { operatorTable } = module as { operatorTable: (ops: readonly OpRecord[]) => string };
  expect(readFileSync(join(ROOT, 'docs/operators.md'), 'utf8')).toBe(operatorTable(ALL_OPS));
  expect(ALL_OPS.length).toBeGreaterThanOrEqual(150);
});
