// The names that users import. A change here is a change of the public API: it belongs into CHANGELOG.md.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as core from '../src/index.js';
import * as node from '../src/node/index.js';
import { VERSION } from '../src/util/version.js';
import * as web from '../src/web/index.js';

test('names of the core entry', () => {
  expect(Object.keys(core).sort()).toMatchSnapshot();
});

test('names of the building blocks', () => {
  expect(Object.keys(core.nn).sort()).toMatchSnapshot();
});

test('names of the Node entry', () => {
  expect(Object.keys(node).sort()).toMatchSnapshot();
});

test('names of the web entry', () => {
  expect(Object.keys(web).sort()).toMatchSnapshot();
});

test('the version in the code is that of package.json', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(VERSION).toBe(version);
});
