// `pare simplify`: fewer nodes, same outputs.
import type { Command } from 'commander';
import { simplify } from '../../passes/simplify/index.js';
import { type RunFlags, runWritingCommand } from '../run-passes.js';
import { addCommonFlags, addDataFlags, addWriteFlags } from '../shared-options.js';
import { addZodFlags, pickOptions } from '../zod-flags.js';

export function addSimplifyCommand(program: Command): void {
  const command = program
    .command('simplify <model>')
    .description('fold constants, remove and fuse nodes, upgrade the opset; outputs stay the same');
  addWriteFlags(addDataFlags(addCommonFlags(command)));
  addZodFlags(command, { simplify: simplify.definition.options });
  command.addHelpText('after', '\nExample:\n  pare simplify model.onnx -o model.slim.onnx');
  command.action(async (model: string, flags: RunFlags) => {
    await runWritingCommand('simplify', model, flags, () => [simplify(pickOptions(command, simplify.definition.options))]);
  });
}
