// `pare factorize`: matrices and convolutions as products of smaller ones, and a training that makes good what that took.
import type { Command } from 'commander';
import type { z } from 'zod';
import type { TrainingData } from '../../data/training.js';
import { usageError } from '../../errors.js';
import { factorize, lowRankOptions } from '../../passes/lowrank/index.js';
import { recoverOptions, recoverPass } from '../../recipe/recover.js';
import { describeEpoch } from '../../recipe/train.js';
import { type PlanContext, type RunFlags, runWritingCommand } from '../run-passes.js';
import { addCommonFlags, addDataFlags, addWriteFlags } from '../shared-options.js';
import { openTrainingData, type TrainingDataFlags, workersOption } from '../training-data.js';
import { addZodFlags, pickOptions } from '../zod-flags.js';

type FactorizeFlags = RunFlags & TrainingDataFlags & { readonly epochs?: number };

export function addFactorizeCommand(program: Command): void {
  const command = program
    .command('factorize <model>')
    .description(
      'write matrices and convolutions as products of smaller ones, where that saves, and prove the result against the original',
    );
  addWriteFlags(addDataFlags(addCommonFlags(command)));
  addZodFlags(command, { factorize: lowRankOptions });
  addZodFlags(command, { training: recoverOptions });
  const epochs = command.options.find((o) => o.long === '--epochs')!;
  epochs.description = 'times that all samples are seen in a training towards the original (default: no training)';
  command.addOption(workersOption()).addHelpText(
    'after',
    `
With --data the error of each layer's outputs decides; without, that of its weights.
--epochs trains the factors towards the original afterwards; labels are used where there are any.

Examples:
  pare factorize bert.onnx --rank-energy 0.95
  pare factorize bert.onnx --target-macs 0.6 --only '*ffn*' --data train.tsv --tokenizer tokenizer.json --validation dev.tsv
  pare factorize resnet.onnx --target-latency 0.7 --conv spatial,tucker --data photos/
  pare factorize bert.onnx --target-macs 0.6 --data train.tsv --validation dev.tsv --tokenizer tokenizer.json --epochs 2 --lr 1e-4`,
  );
  command.action(async (model: string, flags: FactorizeFlags) => {
    const options = pickOptions(command, lowRankOptions);
    const { epochs: times } = flags;
    if (times === undefined) {
      await runWritingCommand('factorize', model, flags, () => [factorize(options)]);
      return;
    }
    if (flags.data === undefined) throw usageError('training needs data: expected --data SPEC with --epochs, got none');
    const training: z.input<typeof recoverOptions> = pickOptions(command, recoverOptions);
    let opened: { data: TrainingData; close(): Promise<void> } | undefined;
    const plan = async (context: PlanContext) => {
      const { cli, input, validation, metric } = context;
      opened = await openTrainingData(model, flags, context);
      const pass = recoverPass(
        {
          data: opened.data,
          validation,
          metric,
          seed: flags.seed,
          session: cli.session,
          onEpoch: (result, count) => cli.progress.log(describeEpoch(result, count)),
        },
        input.model,
      );
      return { passes: [factorize(options), pass(training)] };
    };
    try {
      await runWritingCommand('factorize', model, flags, () => [], plan);
    } finally {
      await opened?.close();
    }
  });
}
