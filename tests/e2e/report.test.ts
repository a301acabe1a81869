// The HTML reports looked at in a real browser: drawn, complete, silent, and without any request.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { profileModel, quantizeStatic, type RunRecord, renderProfileReport, renderReport, runPipeline } from '../../src/index.js';
import { lazyNodeEngine, openDataset, openInput, stageBeside } from '../../src/node/index.js';
import { findChromium, launchBrowser } from './browser.js';

const chromium = findChromium();
const DIGITS = join(import.meta.dirname, '../../examples/digits.onnx');

describe.skipIf(chromium === undefined)('reports in Chromium', () => {
  let folder: string;
  let browser: Browser;
  let record: RunRecord;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pare-report-'));
    browser = await launchBrowser(chromium!);
    const input = await openInput(DIGITS);
    const data = await openDataset('random:4', input.model, { seed: 1 });
    record = await runPipeline({
      command: 'quantize',
      input,
      passes: [quantizeStatic({})],
      engine: lazyNodeEngine(),
      stage: stageBeside(join(folder, 'out.onnx')),
      data,
      validation: data,
      verify: true,
      details: true,
    });
  });

  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Opens a report, collecting everything a browser complains about and everything it would fetch. */
  async function open(html: string) {
    const path = join(folder, 'report.html');
    writeFileSync(path, html);
    const page = await browser.newPage();
    const problems: string[] = [];
    const requests: string[] = [];
    page.on('console', (m) => problems.push(m.text()));
    page.on('pageerror', (e) => problems.push(e.message));
    page.on('request', (r) => requests.push(r.url()));
    await page.goto(pathToFileURL(path).href);
    return { page, problems, requests };
  }

  test('a run: every section is drawn, nothing is fetched', async () => {
    const { page, problems, requests } = await open(renderReport(record));
    expect(problems).toEqual([]);
    expect(requests).toHaveLength(1);
    const headings = await page.locator('h2').allTextContents();
    for (const wanted of [
      'Warnings',
      'Where the bytes are',
      'Outputs against the original',
      'Error by layer',
      'Size by layer',
      'Weight distributions',
      'Passes',
      'Recipe and files',
    ])
      expect(headings).toContain(wanted);
    for (const selector of ['svg.treemap rect', 'svg.bars rect', 'svg.histogram rect']) {
      const boxes = await page
        .locator(selector)
        .evaluateAll((all) => all.map((e) => e.getBoundingClientRect()).filter((b) => b.width > 0 && b.height > 0).length);
      expect(boxes, selector).toBeGreaterThan(4);
    }
    // Nothing runs out of the page on a wide or a narrow screen.
    for (const width of [1200, 420]) {
      await page.setViewportSize({ width, height: 800 });
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    }
    expect((await page.screenshot()).length).toBeGreaterThan(10_000);
  });

  test('a hostile name stays text', async () => {
    const name = '<img src=x onerror="document.title=1"><script>alert(1)</script>';
    const hostile = {
      ...record,
      warnings: [{ message: name, node: name, fix: name }],
      layers: record.layers.map((l) => ({ ...l, node: name })),
    };
    const { page, requests } = await open(renderReport(hostile));
    expect(requests).toHaveLength(1);
    expect(await page.locator('img, script').count()).toBe(0);
    expect(await page.locator('.warning').first().textContent()).toContain('<script>');
  });

  test('a profile', async () => {
    const profile = await profileModel(await openInput(DIGITS), lazyNodeEngine());
    const { page, problems } = await open(renderProfileReport(profile));
    expect(problems).toEqual([]);
    expect(await page.locator('h2').allTextContents()).toEqual(
      expect.arrayContaining(['What could be saved at best', 'Work by layer', 'Time by layer']),
    );
  });
});
