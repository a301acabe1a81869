// `pare prune`: takes away what matters least. Structures (channels, heads, blocks) make a model smaller and faster on every runtime.
import type { Command } from 'commander';
import { usageError } from '../../errors.js';
import { openInput } from '../../node/input.js';
import type { Pass } from '../../pass/define.js';
import { pruneStructured, structuredOptions } from '../../passes/prune/structured/index.js';
import { listGroups } from '../../passes/prune/structured/list.js';
import { pruneUnstructured } from '../../passes/prune/unstructured/index.js';
import { iterativePruning } from '../../recipe/prune-iterative.js';
import { recoveryOptions } from '../../recipe/prune-recovery.js';
import { type PruningKind, structuredPruning, unstructuredPruning } from '../../recipe/prune-steppers.js';
import { renderGroups } from '../render/prune.js';
import { describePoint } from '../render/prune-steps.js';
import { type PlanContext, type RunFlags, runWritingCommand } from '../run-passes.js';
import { openCliSession } from '../session.js';
import { addCommonFlags, addDataFlags, addWriteFlags } from '../shared-options.js';
import { openTrainingData, type TrainingDataFlags, workersOption } from '../training-data.js';
import { addZodFlags, foreignFlags, pickOptions } from '../zod-flags.js';

/** Kinds of pruning, by the flag that chooses them. */
const KINDS = { structured: pruneStructured, unstructured: pruneUnstructured } as const;

type Kind = keyof typeof KINDS;

type PruneFlags = RunFlags &
  TrainingDataFlags &
  Partial<Record<Kind, boolean>> & {
    readonly listGroups?: boolean;
    readonly pattern?: string;
    readonly teacher?: string;
    readonly rewind?: string;
  };

export function addPruneCommand(program: Command): void {
  const command = program
    .command('prune <model>')
    .description(
      'remove what matters least: channels, neurons, heads and whole blocks, or single weights, and prove the result against the original',
    )
    .option('--structured', 'remove whole channels, neurons, heads, hidden units or blocks (default)')
    .option('--unstructured', 'make single weights zero (default where --pattern is given): smaller when packed, not faster')
    .option('--list-groups', 'show what could be removed together and what stays, and write nothing');
  addWriteFlags(addDataFlags(addCommonFlags(command)));
  const schemas = Object.fromEntries(Object.entries(KINDS).map(([kind, pass]) => [kind, pass.definition.options]));
  addZodFlags(command, schemas, 'kind');
  addZodFlags(command, { recovery: recoveryOptions });
  command
    .option('--teacher <model>', 'model that the training learns from (default: the model as it is given)')
    .option('--rewind <model>', 'model whose weights the lottery schedule returns to (default: as given)')
    .addOption(workersOption());
  command.addHelpText(
    'after',
    `
Examples:
  pare prune model.onnx --list-groups
  pare prune model.onnx --structured --target-macs 0.5 --importance l2 --data calib.npz --reconstruct
  pare prune model.onnx --sparsity 0.5 --round-to 8 --protect 'head/*'
  pare prune model.onnx --unstructured --sparsity 0.8 --scope global --data calib.npz --reconstruct
  pare prune gpt.onnx --pattern 2:4 --method sparsegpt --data text.txt --tokenizer vocab.json
  pare prune bert.onnx --blocks 2 --data calib.tsv --tokenizer tokenizer.json --text sentence
  pare prune resnet.onnx --target-macs 0.5 --schedule cubic --steps 4 --epochs 5 --data photos/ --validation test/ --augment flip,crop:4 --max-drop 1%

With --schedule, --steps or --epochs it prunes a little, trains on --data, measures on --validation, again and again. The unpruned model teaches, so
labels are not needed; --max-drop keeps the last step that loses no more.`,
  );
  command.action(async (model: string, flags: PruneFlags) => {
    const kind = kindOf(flags);
    const foreign = foreignFlags(command, KINDS[kind].definition.options, schemas);
    if (foreign.length > 0) throw usageError(`--${kind} has no ${foreign.map((f) => `${f.flag} (${f.modes.join(', ')})`).join(', ')}`);
    if (flags.listGroups) return showGroups(command, model, flags);
    if (trains(command, flags)) return pruneInSteps(command, model, flags, kind);
    await runWritingCommand('prune', model, flags, () => [bind(KINDS[kind], command)]);
  });
}

function kindOf(flags: PruneFlags): Kind {
  const given = (Object.keys(KINDS) as Kind[]).filter((k) => flags[k]);
  if (given.length > 1) throw usageError(`expected one kind of pruning, got ${given.map((k) => `--${k}`).join(' and ')}`);
  return given[0] ?? (flags.pattern === undefined ? 'structured' : 'unstructured');
}

function bind(pass: (typeof KINDS)[Kind], command: Command) {
  return (pass as unknown as Pass)(pickOptions(command, pass.definition.options));
}

async function showGroups(command: Command, path: string, flags: PruneFlags): Promise<void> {
  const cli = openCliSession(flags);
  try {
    const input = await openInput(path);
    const options = structuredOptions.parse(pickOptions(command, structuredOptions));
    const listing = await listGroups(input.model, options, { engine: cli.engine, threads: flags.threads, seed: flags.seed });
    cli.progress.stop();
    cli.say(renderGroups(listing));
    cli.json(listing);
  } finally {
    cli.progress.stop();
  }
}

/** Steps of the iterative pass, by the kind of pruning. */
const STEPS: Readonly<Record<Kind, (options: Record<string, unknown>) => PruningKind>> = {
  structured: structuredPruning,
  unstructured: unstructuredPruning,
};

/** Whether a flag asks for training. */
function trains(command: Command, { teacher, rewind }: PruneFlags): boolean {
  const asked = Object.keys(recoveryOptions.shape).some((name) => command.getOptionValueSource(name) === 'cli');
  return asked || teacher !== undefined || rewind !== undefined;
}

async function pruneInSteps(command: Command, model: string, flags: PruneFlags, kind: Kind): Promise<void> {
  if (flags.data === undefined) throw usageError('pruning in steps trains in between: expected --data SPEC, got none');
  const controller = new AbortController();
  const interrupt = () => controller.abort();
  let close = async () => {};
  const plan = async (context: PlanContext) => {
    const { cli, validation, metric } = context;
    if (flags.validation === undefined && flags.verify)
      cli.say('note: quality is measured on the training data; --validation SPEC names others');
    const opened = await openTrainingData(model, flags, context);
    close = opened.close;
    process.on('SIGINT', interrupt);
    const pass = iterativePruning(
      STEPS[kind](pickOptions(command, KINDS[kind].definition.options)),
      pickOptions(command, recoveryOptions),
      {
        data: opened.data,
        validation,
        metric,
        teacher: flags.teacher === undefined ? undefined : (await openInput(flags.teacher)).model,
        rewind: flags.rewind === undefined ? undefined : (await openInput(flags.rewind)).model,
        maxDrop: flags.maxDrop,
        seed: flags.seed,
        session: cli.session,
        onPoint: (point, steps, name) => cli.progress.log(describePoint(point, steps, name)),
      },
    );
    return { passes: [pass] };
  };
  try {
    await runWritingCommand('prune', model, flags, () => [], plan, controller.signal);
  } finally {
    process.removeListener('SIGINT', interrupt);
    await close();
  }
}
