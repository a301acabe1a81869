// `pare distill`: a smaller network that learns to answer what a larger one answers, proved against it.
import type { Command } from 'commander';
import { usageError } from '../../errors.js';
import { checkpointFile } from '../../node/checkpoints.js';
import { readModel } from '../../node/files.js';
import { openInput } from '../../node/input.js';
import { distillOptions, distillPass } from '../../recipe/distill.js';
import { describeEpoch } from '../../recipe/train.js';
import { type PlanContext, type RunFlags, runWritingCommand } from '../run-passes.js';
import { openData, outputPath } from '../session.js';
import { addCommonFlags, addDataFlags, addWriteFlags } from '../shared-options.js';
import { type CheckpointedRun, withCheckpoint } from '../training-checkpoint.js';
import { addZodFlags, pickOptions } from '../zod-flags.js';

type DistillFlags = RunFlags & {
  readonly teacher?: readonly string[];
  readonly unlabelled?: string;
  readonly teacherCache?: string;
  readonly checkpoint?: string;
  readonly resume?: boolean;
};

export function addDistillCommand(program: Command): void {
  const command = program
    .command('distill')
    .description('train a smaller network to answer what a larger one answers, with or without labels')
    .option('--teacher <model>', 'model to learn from; repeated: the mean of several, of which the first is compared with', collect);
  addWriteFlags(addDataFlags(addCommonFlags(command)));
  addZodFlags(command, { distill: distillOptions });
  command
    .option('--unlabelled <spec>', 'further samples, which the teacher labels')
    .option('--teacher-cache <file>', 'keep what the teacher answers in this file, for runs on the same data')
    .option('--checkpoint <file>', 'file with the state of the training (default: OUTPUT.checkpoint, removed at the end)')
    .option('--resume', 'go on from the checkpoint, where there is one: the same result as without the interruption')
    .addHelpText(
      'after',
      `
Students: copy:2 (every second layer), layers:0,3 (those), narrow:0.5 (half as wide), self (new weights),
a preset with options (mlp:sizes=784,75,25,10), or FILE.onnx. The student takes the teacher's inputs and gives its output.

Examples:
  pare distill --teacher bert.onnx --student copy:2 --data train.tsv --validation dev.tsv --tokenizer tokenizer.json --embedding-rank 128 --lr 3e-4 --epochs 3
  pare distill --teacher lenet5.onnx --student mlp:sizes=784,75,25,10 --data idx:train-images.gz,train-labels.gz --validation idx:test-images.gz,test-labels.gz
  pare distill --teacher resnet.onnx --student narrow:0.5 --data photos/ --augment flip,crop:4 --attention-transfer
  pare distill --teacher a.onnx --teacher b.onnx --student small.onnx --data x.npz --loss logits-mse`,
    );
  command.action((flags: DistillFlags) => distill(command, flags));
}

async function distill(command: Command, flags: DistillFlags): Promise<void> {
  const [teacher, ...others] = flags.teacher ?? [];
  if (teacher === undefined) throw usageError('distill needs a model to learn from: expected --teacher MODEL, got none');
  const given = pickOptions(command, distillOptions);
  const { student } = given;
  if (typeof student !== 'string')
    throw usageError('distill needs a student: expected --student, got none', { hint: 'copy:2, narrow:0.5, a preset or a file' });
  if (flags.data === undefined)
    throw usageError('distill needs data: expected --data SPEC, got none', { hint: 'labels are used where there are any' });
  const target = outputPath(teacher, flags.output, 'distill', flags.force);
  const planFor =
    (run: CheckpointedRun) =>
    async ({ cli, input, data, validation, metric }: PlanContext) => {
      if (flags.validation === undefined && flags.verify)
        cli.say('note: quality is measured on the training data; --validation SPEC names others');
      run.takeInterrupts();
      const pass = distillPass({
        data: data!,
        unlabelled: flags.unlabelled === undefined ? undefined : await openData(cli, flags.unlabelled, input, flags),
        ensemble: await Promise.all(others.map(async (path) => (await openInput(path)).model)),
        open: readModel,
        store: flags.teacherCache === undefined ? undefined : checkpointFile(flags.teacherCache),
        validation,
        metric,
        checkpoint: checkpointFile(run.file),
        resume: flags.resume,
        identity: `${await input.sha256} ${student}`,
        seed: flags.seed,
        session: cli.session,
        onEpoch: (result, epochs) => cli.progress.log(describeEpoch(result, epochs)),
      });
      return { passes: [pass({ ...given, student })] };
    };
  await withCheckpoint(flags.checkpoint, target, async (run) => {
    await runWritingCommand('distill', teacher, flags, () => [], planFor(run), run.signal);
  });
}

function collect(text: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, text];
}
