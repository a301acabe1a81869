// `pare prune`: takes away what matters least. Structures (channels, heads, blocks) make a model smaller and faster on every runtime.
import type { Command } from 'commander';
import { usageError } from '../../errors.js';
import { openInput } from '../../node/input.js';
import { pruneStructured, structuredOptions } from '../../passes/prune/structured/index.js';
import { listGroups } from '../../passes/prune/structured/list.js';
import { renderGroups } from '../render/prune.js';
import { type RunFlags, runWritingCommand } from '../run-passes.js';
import { openCliSession } from '../session.js';
import { addCommonFlags, addDataFlags, addWriteFlags } from '../shared-options.js';
import { addZodFlags, foreignFlags, pickOptions } from '../zod-flags.js';

/** Kinds of pruning, by the flag that chooses them. */
const KINDS = { structured: pruneStructured } as const;

type Kind = keyof typeof KINDS;

type PruneFlags = RunFlags & Partial<Record<Kind, boolean>> & { readonly listGroups?: boolean };

export function addPruneCommand(program: Command): void {
  const command = program
    .command('prune <model>')
    .description('remove what matters least: channels, neurons, heads and whole blocks, and prove the result against the original')
    .option('--structured', 'remove whole channels, neurons, heads, hidden units or blocks (default)')
    .option('--list-groups', 'show what could be removed together and what stays, and write nothing');
  addWriteFlags(addDataFlags(addCommonFlags(command)));
  const schemas = Object.fromEntries(Object.entries(KINDS).map(([kind, pass]) => [kind, pass.definition.options]));
  addZodFlags(command, schemas, 'kind');
  command.addHelpText(
    'after',
    `
Examples:
  pare prune model.onnx --list-groups
  pare prune model.onnx --structured --target-macs 0.5 --importance l2 --data calib.npz --reconstruct
  pare prune model.onnx --sparsity 0.5 --round-to 8 --protect 'head/*'
  pare prune bert.onnx --blocks 2 --data calib.tsv --tokenizer tokenizer.json --text sentence`,
  );
  command.action(async (model: string, flags: PruneFlags) => {
    const kind = kindOf(flags);
    const foreign = foreignFlags(command, KINDS[kind].definition.options, schemas);
    if (foreign.length > 0) throw usageError(`--${kind} has no ${foreign.map((f) => `${f.flag} (${f.modes.join(', ')})`).join(', ')}`);
    if (flags.listGroups) return showGroups(command, model, flags);
    await runWritingCommand('prune', model, flags, () => [KINDS[kind](pickOptions(command, KINDS[kind].definition.options))]);
  });
}

function kindOf(flags: PruneFlags): Kind {
  const given = (Object.keys(KINDS) as Kind[]).filter((k) => flags[k]);
  if (given.length > 1) throw usageError(`expected one kind of pruning, got ${given.map((k) => `--${k}`).join(' and ')}`);
  return given[0] ?? 'structured';
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
