// Metrics by name or from a file of the user's. The file exports, by default or as `metric`, a function of a batch (averaged over samples) or a whole
// metric. TypeScript is loaded through jiti, since Node 20 cannot by itself.
import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Metric, MetricBatch } from '../data/metric.js';
import { metricNamed } from '../data/metrics.js';
import { fileError, usageError } from '../errors.js';

const isScript = (name: string) => /\.(js|mjs|ts|mts)$/i.test(name);

/**
 * A metric of the table, or from FILE.js or FILE.ts. A function `(batch: MetricBatch) => number` counts as higher-is-better unless the file also exports
 * `higherIsBetter = false`; `needs` may be exported too ('labels', 'reference', 'outputs'; default 'outputs').
 */
export async function metricByName(name: string): Promise<Metric> {
  if (!isScript(name)) return metricNamed(name);
  const path = resolve(name);
  if (!existsSync(path)) throw fileError(`--metric ${name}: no such file`, { place: { file: name } });
  const loaded = await importScript(path, name);
  const exports = [loaded.default, loaded.metric];
  const exported = exports.find((e) => typeof e === 'function' || isMetric(e));
  if (typeof exported === 'function') return fromFunction(basename(name), exported as (batch: MetricBatch) => unknown, loaded);
  if (isMetric(exported)) return exported.name ? exported : { ...exported, name: basename(name) };
  throw usageError(
    `--metric ${name}: expected it to export (by default or as "metric") a function of a batch or a metric, got ${exports.map((e) => typeof e).join(' and ')}`,
    {
      place: { file: name },
      hint: 'export default ({ outputs, labels, size }) => number, or { name, higherIsBetter, needs, create() }',
    },
  );
}

async function importScript(path: string, name: string): Promise<Record<string, unknown>> {
  try {
    if (!/\.m?ts$/i.test(path)) return (await import(pathToFileURL(path).href)) as Record<string, unknown>;
    const { createJiti } = await import('jiti');
    return (await createJiti(import.meta.url, { interopDefault: false }).import(path)) as Record<string, unknown>;
  } catch (cause) {
    throw usageError(`--metric ${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { place: { file: name }, cause });
  }
}

function isMetric(value: unknown): value is Metric {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Metric).create === 'function' &&
    typeof (value as Metric).higherIsBetter === 'boolean' &&
    ['labels', 'reference', 'outputs'].includes((value as Metric).needs)
  );
}

function fromFunction(name: string, measure: (batch: MetricBatch) => unknown, settings: Record<string, unknown>): Metric {
  const needs = settings.needs === 'labels' || settings.needs === 'reference' ? settings.needs : 'outputs';
  return {
    name,
    summary: `mean of ${name} over the samples`,
    higherIsBetter: settings.higherIsBetter !== false,
    needs,
    create() {
      let [sum, count] = [0, 0];
      return {
        async update(batch) {
          const value = await measure(batch);
          if (typeof value !== 'number') throw usageError(`metric ${name}: expected a number per batch, got ${typeof value}`);
          sum += value * batch.size;
          count += batch.size;
        },
        result: () => sum / count,
      };
    },
  };
}
