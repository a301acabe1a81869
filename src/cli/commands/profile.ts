// `pare profile`: what a model is made of, what it costs, and what could be saved.
import { type Command, Option } from 'commander';
import { usageError } from '../../errors.js';
import { writeFileAtomic } from '../../node/files.js';
import { openInput } from '../../node/input.js';
import { measurePeakMemory } from '../../node/memory.js';
import { type ModelProfile, profileModel } from '../../recipe/profile.js';
import { renderProfile, renderSideBySide, SORT_KEYS, type SortKey } from '../render/profile.js';
import { openCliSession } from '../session.js';
import { addCommonFlags, type CommonFlags } from '../shared-options.js';

type Flags = CommonFlags & {
  readonly run: boolean;
  readonly weights: boolean;
  readonly sort: SortKey;
  readonly top: number;
  readonly batches?: readonly number[];
};

const DEFAULT_TOP = 20;

export function addProfileCommand(program: Command): void {
  const command = program
    .command('profile <models...>')
    .description('parameters, MACs, bytes, weight distributions, latency, memory, and what each technique could save');
  addCommonFlags(command)
    .option('--no-run', 'static figures only: nothing is run')
    .option('--no-weights', 'do not read the weights for their distributions')
    .addOption(new Option('--batches <list>', 'batch sizes to time, e.g. 1,8,32').argParser((text: string) => text.split(',').map(Number)))
    .addOption(new Option('--sort <key>', 'order of the layer table').choices(SORT_KEYS).default('order'))
    .addOption(new Option('--top <n>', 'rows of the layer and weight tables; 0 hides them').argParser(Number).default(DEFAULT_TOP))
    .addHelpText('after', '\nExamples:\n  pare profile model.onnx --sort macs\n  pare profile a.onnx b.onnx --json');
  command.action(async (paths: string[], flags: Flags) => {
    if (flags.report !== undefined && paths.length > 1) throw usageError(`--report takes one model, got ${paths.length}`);
    const cli = openCliSession(flags);
    try {
      const profiles: ModelProfile[] = [];
      for (const path of paths) {
        const input = await openInput(path);
        profiles.push(
          await profileModel(input, cli.engine, {
            shapes: flags.shape,
            run: flags.run,
            weights: flags.weights,
            batchSizes: flags.batches ?? [flags.batch ?? 1],
            session: cli.session,
            seed: flags.seed,
            measureMemory: (feeds) => measurePeakMemory(path, feeds, cli.session),
            onProgress: (p) => cli.progress.update(p),
          }),
        );
      }
      cli.progress.stop();
      const [first] = profiles;
      cli.say(profiles.length === 1 ? renderProfile(first!, flags) : renderSideBySide(profiles));
      if (flags.report !== undefined) {
        const { renderProfileReport } = await import('../../report/profile.js');
        await writeFileAtomic(flags.report, renderProfileReport(first!));
        cli.say(`report: ${flags.report}`);
      }
      cli.json(profiles.length === 1 ? first : { models: profiles });
    } finally {
      cli.progress.stop();
    }
  });
}
