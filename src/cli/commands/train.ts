// `pare train`: new weights for a model by gradient descent on labelled data, proved on data that is not trained on.
import type { Command } from 'commander';
import type { TrainingData } from '../../data/training.js';
import { usageError } from '../../errors.js';
import { checkpointFile } from '../../node/checkpoints.js';
import type { BoundPass } from '../../pass/define.js';
import { qatOptions, qatPass } from '../../recipe/qat.js';
import { describeEpoch, type TrainingSources, trainingOptions, trainPass } from '../../recipe/train.js';
import { addLoraFlags, type LoraFlags, loraPasses } from '../lora.js';
import { type PlanContext, type RunFlags, runWritingCommand } from '../run-passes.js';
import { outputPath } from '../session.js';
import { addCommonFlags, addDataFlags, addWriteFlags } from '../shared-options.js';
import { type CheckpointedRun, withCheckpoint } from '../training-checkpoint.js';
import { openTrainingData, type TrainingDataFlags, workersOption } from '../training-data.js';
import { addZodFlags, foreignFlags, pickOptions } from '../zod-flags.js';

type TrainFlags = RunFlags &
  TrainingDataFlags &
  LoraFlags & {
    readonly checkpoint?: string;
    readonly resume?: boolean;
    readonly qat?: string;
  };

export function addTrainCommand(program: Command): void {
  const command = program
    .command('train <model>')
    .description(
      'train or fine-tune the weights of a model on labelled data; its graph stays as it is; with --qat towards a quantized model',
    );
  addWriteFlags(addDataFlags(addCommonFlags(command)));
  addZodFlags(command, { float: trainingOptions, qat: qatOptions });
  addLoraFlags(command);
  command
    .option('--checkpoint <file>', 'file with the state of the training (default: OUTPUT.checkpoint, removed at the end)')
    .option('--resume', 'go on from the checkpoint, where there is one: the same result as without the interruption')
    .addOption(workersOption())
    .addHelpText(
      'after',
      `
Quality is measured on --validation, before and after; the best epoch by it is what is written.
Ctrl-C leaves the checkpoint: the same command with --resume goes on.

Examples:
  pare new lenet5 -o lenet5.onnx
  pare train lenet5.onnx -o digits.onnx --data idx:train-images.gz,train-labels.gz --validation idx:test-images.gz,test-labels.gz --epochs 5 --optimizer adam
  pare train resnet.onnx --data photos/ --validation test/ --optimizer nesterov --lr 0.05 --augment flip,crop:4 --weight-decay 5e-4
  pare train bert.onnx --data train.tsv --validation dev.tsv --tokenizer tokenizer.json --lr 5e-5 --warmup 100 --freeze '*embeddings*'
  pare train gpt.onnx --data text.txt --tokenizer vocabulary.json --metric loss --max-minutes 10
  pare train gpt.4bit.onnx --lora 8 --adapter sonnets.safetensors --data sonnets.txt --tokenizer vocabulary.json --metric loss --epochs 2
  pare train resnet.onnx -o w4a8.onnx --qat w4a8 --data photos/ --validation test/ --epochs 6 --augment flip
  pare train gpt.onnx -o 2bit.onnx --qat w2 --qat-start gptq --data text.txt --validation held.txt --tokenizer vocabulary.json --metric loss`,
    );
  command.action(async (model: string, flags: TrainFlags) => {
    if (flags.data === undefined) throw usageError('train needs labelled data: expected --data SPEC, got none');
    const bind = passOf(command, flags);
    const lora = loraPasses(flags);
    const target = outputPath(model, flags.output, 'train', flags.force);
    let opened: { data: TrainingData; close(): Promise<void> } | undefined;
    const planFor = (run: CheckpointedRun) => async (context: PlanContext) => {
      const { cli, input, validation, metric } = context;
      if (flags.validation === undefined && flags.verify)
        cli.say('note: quality is measured on the training data; --validation SPEC names others');
      opened = await openTrainingData(model, flags, context);
      run.takeInterrupts();
      const pass = bind({
        data: opened.data,
        validation,
        metric,
        checkpoint: checkpointFile(run.file),
        resume: flags.resume,
        identity: await input.sha256,
        seed: flags.seed,
        session: cli.session,
        onEpoch: (result, epochs) => cli.progress.log(describeEpoch(result, epochs)),
      });
      return { passes: [...lora.before, pass, ...lora.after] };
    };
    try {
      await withCheckpoint(flags.checkpoint, target, async (run) => {
        await runWritingCommand('train', model, flags, () => [], planFor(run), run.signal);
        await lora.write();
      });
    } finally {
      await opened?.close();
    }
  });
}

/** The pass with its options, once its sources are known. */
function passOf(command: Command, { qat }: TrainFlags): (sources: TrainingSources) => BoundPass {
  if (qat !== undefined) return (sources) => qatPass(sources)({ ...pickOptions(command, qatOptions), qat });
  const foreign = foreignFlags(command, trainingOptions, { qat: qatOptions }).filter(({ flag }) => flag !== '--data');
  if (foreign.length > 0) throw usageError(`${foreign.map((f) => f.flag).join(', ')}: expected --qat FORMAT with it, got none`);
  const options = pickOptions(command, trainingOptions);
  return (sources) => trainPass(sources)(options);
}
