// The example page trains a network in a tab: the loss falls, digits that it has not seen are recognized, and stopping works.
import { resolve } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BrowserSetup, findChromium, openPage, startBrowser } from './browser.js';

const chromium = findChromium();

interface PageResult {
  readonly before: number;
  readonly accuracy: number;
  readonly losses: readonly number[];
  readonly msPerStep: number;
}

describe.skipIf(chromium === undefined)('training in a tab', () => {
  let setup: BrowserSetup;
  beforeAll(async () => {
    setup = await startBrowser(chromium!, { examples: resolve(import.meta.dirname, '../../examples') });
  });
  afterAll(() => setup.close());

  const openExample = () => openPage(setup.browser, `${setup.url}/examples/browser-training/index.html`);

  async function start(page: Page, settings: Readonly<Record<string, number>>): Promise<void> {
    for (const [name, value] of Object.entries(settings)) await page.fill(`input[name=${name}]`, String(value));
    await page.click('#start');
  }

  it('learns digits', async () => {
    const { page, problems } = await openExample();
    await start(page, { digits: 100, epochs: 2 });
    await page.waitForFunction(
      () => document.body.dataset.result !== undefined || document.getElementById('error')!.textContent !== '',
      null,
      {
        timeout: 50_000,
      },
    );
    expect(await page.textContent('#error')).toBe('');
    expect(problems).toEqual([]);
    const result = JSON.parse(await page.evaluate(() => document.body.dataset.result!)) as PageResult;
    expect(result.losses.length).toBe(40);
    const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    expect(mean(result.losses.slice(-5))).toBeLessThan(0.5 * mean(result.losses.slice(0, 5)));
    expect(result.before).toBeLessThan(0.3);
    expect(result.accuracy).toBeGreaterThan(0.8);
    expect(await page.textContent('#status')).toMatch(/right before, .* % after 40 steps/);
    const captions = await page.locator('#digits figcaption').allTextContents();
    expect(captions.filter((text, digit) => text === String(digit)).length).toBeGreaterThanOrEqual(6);
    // The curve was drawn.
    const painted = await page.evaluate(() => {
      const canvas = document.getElementById('curve') as HTMLCanvasElement;
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
      return data.filter((v, i) => i % 4 === 3 && v > 0).length;
    });
    expect(painted).toBeGreaterThan(500);
    await page.close();
  });

  it('stops when asked to, and trains again', async () => {
    const { page, problems } = await openExample();
    await start(page, { digits: 800, epochs: 20 });
    await page.waitForFunction(() => /step \d+ of/.test(document.getElementById('status')!.textContent!));
    await page.click('#stop');
    await page.waitForFunction(() => document.getElementById('status')!.textContent === 'Stopped.');
    expect(await page.isDisabled('#stop')).toBe(true);
    expect(await page.isEnabled('#start')).toBe(true);
    await start(page, { digits: 10, epochs: 1 });
    await page.waitForFunction(() => document.body.dataset.result !== undefined);
    expect(await page.textContent('#error')).toBe('');
    expect(problems).toEqual([]);
    await page.close();
  });
});
