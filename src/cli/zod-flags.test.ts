import { Command } from 'commander';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { addZodFlags, foreignFlags, pickOptions } from './zod-flags.js';

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
  addZodFlags(command, { only: schema });
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

test('a list flag may be repeated', () => {
  expect(parse('--exclude', 'a,b', '--exclude', 'c')).toEqual({ exclude: ['a', 'b', 'c'] });
});

test('modes share flags, with the choices of both, and flags of other modes are found out', () => {
  const modes = {
    one: z.object({ io: z.enum(['keep', 'half']).default('keep').describe('io'), sharp: z.boolean().default(true).describe('sharpen') }),
    two: z.object({
      io: z.enum(['keep', 'brain']).default('keep').describe('io'),
      sharp: z.boolean().default(false).describe('sharpen'),
      bits: z.number().default(4),
    }),
  };
  const command = new Command().exitOverride();
  addZodFlags(command, modes);
  command.parse(['node', 'x', '--io', 'brain', '--sharp', '--bits', '8']);
  expect(pickOptions(command, modes.two)).toEqual({ io: 'brain', sharp: true, bits: 8 });
  expect(foreignFlags(command, modes.one, modes)).toEqual([{ flag: '--bits', modes: ['two'] }]);
  expect(command.options.map((o) => o.long)).toEqual(expect.arrayContaining(['--sharp', '--no-sharp']));
});
