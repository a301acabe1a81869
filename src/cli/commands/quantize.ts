// `pare quantize`: one command for every way of storing numbers in fewer bits.
import { type Command, Option } from 'commander';
import type { z } from 'zod';
import { usageError } from '../../errors.js';
import type { Pass } from '../../pass/define.js';
import { toBf16 } from '../../passes/precision/bf16.js';
import { toFp16 } from '../../passes/precision/fp16.js';
import { quantizeDynamic } from '../../passes/quantize/dynamic.js';
import { quantizeStatic } from '../../passes/quantize/static.js';
import { quantizeWeights } from '../../passes/quantize/weights.js';
import { type RunFlags, runWritingCommand } from '../run-passes.js';
import { addCommonFlags, addDataFlags, addWriteFlags } from '../shared-options.js';
import { addZodFlags, foreignFlags, pickOptions } from '../zod-flags.js';

const MODES = {
  static: quantizeStatic,
  dynamic: quantizeDynamic,
  weights: quantizeWeights,
  fp16: toFp16,
  bf16: toBf16,
} as const;

type Mode = keyof typeof MODES;

export function addQuantizeCommand(program: Command): void {
  const command = program
    .command('quantize <model>')
    .description('store weights and activations in fewer bits, and prove the result against the original')
    .addOption(
      new Option(
        '--mode <mode>',
        'static: int8 with calibration data (QDQ); dynamic: int8, ranges at run time; weights: int8 or int4 storage; fp16; bf16',
      ).choices(Object.keys(MODES)),
    );
  addWriteFlags(addDataFlags(addCommonFlags(command)));
  const schemas = Object.fromEntries(Object.entries(MODES).map(([mode, pass]) => [mode, pass.definition.options as z.ZodObject]));
  addZodFlags(command, schemas);
  command.addHelpText(
    'after',
    `
Without --mode: static where --data is given, else dynamic.

Examples:
  pare quantize model.onnx -o model.int8.onnx --data calib.npz --report report.html
  pare quantize model.onnx --mode dynamic
  pare quantize model.onnx --mode weights --bits 4 --block 32
  pare quantize model.onnx --mode fp16 --data test.npz --metric top1 --max-drop 0.5%`,
  );
  command.action(async (model: string, flags: RunFlags & { mode?: Mode }) => {
    const mode = flags.mode ?? (flags.data === undefined ? 'dynamic' : 'static');
    const foreign = foreignFlags(command, MODES[mode].definition.options, schemas);
    if (foreign.length > 0) {
      const list = foreign.map((f) => `${f.flag} (${f.modes.join(', ')})`).join(', ');
      throw usageError(`mode ${mode} has no ${list}`, { hint: 'leave it out, or choose the mode with --mode' });
    }
    await runWritingCommand('quantize', model, flags, () => [bind(MODES[mode], command)]);
  });
}

function bind(pass: (typeof MODES)[Mode], command: Command) {
  return (pass as unknown as Pass)(pickOptions(command, pass.definition.options));
}
