import { Command } from 'commander';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { addZodFlags, pickOptions } from './zod-flags.js';

const schema = z.object({
  maxBytes: z.number().int().default(5).describe('largest size'),
  fuse: z.boolean().default(true).describe('fuse nodes'),
  contrib: z.boolean().default(false).describe('contrib operators'),
  mode: z.enum(['a', 'b']).default('a').describe('the mode'),
  exclude: z.array(z.string()).default([]).describe('names'),
  optional: z.number().optional().describe('maybe'),
});

function parse(...args: string[]) {
  const command = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  addZodFlags(command, schema);
  command.parse(['node', 'x', ...args]);
  return pickOptions(command, schema);
}

test('flags that are not given leave the defaults to the schema', () => {
  expect(parse()).toEqual({});
  expect(schema.parse(parse())).toMatchObject({ maxBytes: 5, fuse: true, mode: 'a' });
});

test('each kind of field has its flag', () => {
  expect(parse('--max-bytes', '7', '--no-fuse', '--contrib', '--mode', 'b', '--exclude', 'conv1, conv2', '--optional', '0.5')).toEqual({
    maxBytes: 7,
    fuse: false,
    contrib: true,
    mode: 'b',
    exclude: ['conv1', 'conv2'],
    optional: 0.5,
  });
});

test('bad values are refused', () => {
  expect(() => parse('--max-bytes', 'seven')).toThrow('expected a number');
  expect(() => parse('--mode', 'c')).toThrow(/Allowed choices/);
});
