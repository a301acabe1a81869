// `pare adapter`: puts trained low-rank adapters into a model, beside its weights, into them, or as inputs to be swapped at each run.
import type { Command } from 'commander';
import { usageError } from '../../errors.js';
import { checkpointFile } from '../../node/checkpoints.js';
import type { BoundPass } from '../../pass/define.js';
import { applyAdapters } from '../../passes/adapters/add.js';
import { decodeAdapters } from '../../passes/adapters/file.js';
import { mergeAdapters } from '../../passes/adapters/merge.js';
import { type RunFlags, runWritingCommand } from '../run-passes.js';
import { addCommonFlags, addDataFlags, addWriteFlags } from '../shared-options.js';

type AdapterFlags = RunFlags & { readonly add?: string; readonly merge?: boolean; readonly asInputs?: boolean };

export function addAdapterCommand(program: Command): void {
  const command = program
    .command('adapter <model>')
    .description('put trained low-rank adapters (LoRA) into a model: beside its weights, into them, or as inputs')
    .option('--add <file>', 'adapters to put beside the weights (safetensors, written by pare train --adapter)')
    .option('--merge', 'take the adapters into the weights: the graph is as without them')
    .option('--as-inputs', 'adapters are fed at each run, so that they can be swapped without loading the model again');
  addWriteFlags(addDataFlags(addCommonFlags(command))).addHelpText(
    'after',
    `
Examples:
  pare adapter gpt.4bit.onnx --add sonnets.safetensors -o gpt.sonnets.onnx
  pare adapter gpt.onnx --add sonnets.safetensors --merge -o gpt.sonnets.onnx
  pare adapter gpt.4bit.onnx --add sonnets.safetensors --as-inputs -o gpt.swap.onnx --no-verify`,
  );
  command.action(async (model: string, flags: AdapterFlags) => {
    const { add, merge = false, asInputs = false } = flags;
    if (add === undefined && !merge) throw usageError('adapter: expected --add FILE or --merge, got neither');
    if (asInputs && (merge || add === undefined)) throw usageError('--as-inputs: expected --add FILE without --merge');
    const passes: BoundPass[] = [];
    if (add !== undefined) {
      const bytes = await checkpointFile(add).load();
      if (!bytes) throw usageError(`adapter: expected a file, got none at ${add}`);
      const file = decodeAdapters(bytes, add);
      passes.push({
        name: 'apply-adapters',
        summary: 'low-rank adapters (LoRA) of a file beside the weights',
        options: { asInputs },
        needs: {},
        run: async (m) => {
          applyAdapters(m, file, { asInputs });
          return true;
        },
      });
    }
    if (merge) passes.push(mergeAdapters());
    await runWritingCommand('adapter', model, flags, () => passes);
  });
}
