// `pare new`: an untrained network of a named architecture, to train or to distil into.
import type { Command } from 'commander';
import { usageError } from '../../errors.js';
import { PRESETS, presetNamed } from '../../nn/presets/index.js';
import { writeFileAtomic } from '../../node/files.js';
import { stageBeside } from '../../node/staging.js';
import { createModel } from '../../recipe/create.js';
import { renderCreated, renderPresets } from '../render/create.js';
import { openCliSession } from '../session.js';
import { addCommonFlags, type CommonFlags } from '../shared-options.js';
import { addZodFlags, foreignFlags, pickOptions } from '../zod-flags.js';

type Flags = CommonFlags & { readonly output?: string; readonly list?: boolean };

export function addNewCommand(program: Command): void {
  const command = program
    .command('new [preset]')
    .description('write an untrained network with initial weights')
    .option('-o, --output <file>', 'file to write')
    .option('--list', 'show the presets and their sizes');
  addCommonFlags(command);
  addZodFlags(command, schemas(), 'preset');
  command.addHelpText(
    'after',
    () =>
      `\n${renderPresets(Object.values(PRESETS))}\n\nExamples:\n  pare new lenet5 -o lenet5.onnx\n  pare new mobilenet -o student.onnx --size 32 --classes 10 --width 0.5 --seed 1`,
  );
  command.action(async (name: string | undefined, flags: Flags) => {
    const cli = openCliSession(flags);
    if (flags.list) {
      cli.say(renderPresets(Object.values(PRESETS)));
      cli.json({ presets: Object.values(PRESETS).map((p) => ({ name: p.name, summary: p.summary, parameters: p.parameters })) });
      return;
    }
    if (name === undefined) throw usageError('expected the name of a preset, got none', { hint: 'pare new --list shows them' });
    const preset = presetNamed(name);
    const [foreign] = foreignFlags(command, preset.options, schemas());
    if (foreign) throw usageError(`${foreign.flag}: ${name} has no such option; ${foreign.modes.join(', ')} have`);
    if (flags.output === undefined) throw usageError(`expected -o FILE, got none`, { hint: `pare new ${name} -o ${name}.onnx` });
    try {
      const record = await createModel({
        preset: name,
        options: pickOptions(command, preset.options),
        seed: flags.seed,
        engine: cli.engine,
        stage: stageBeside(flags.output),
        session: cli.session,
        memoryBytes: cli.memoryBytes,
        batch: flags.batch,
        shapes: flags.shape,
        onProgress: (p) => cli.progress.update(p),
      });
      cli.progress.stop();
      cli.say(renderCreated(record));
      if (flags.report !== undefined) await writeReport(flags.output, flags.report, cli);
      cli.json(record);
    } finally {
      cli.progress.stop();
    }
  });
}

const schemas = () => Object.fromEntries(Object.values(PRESETS).map((p) => [p.name, p.options]));

/** The report of a new model is its profile. */
async function writeReport(path: string, report: string, cli: ReturnType<typeof openCliSession>): Promise<void> {
  const { openInput } = await import('../../node/input.js');
  const { profileModel } = await import('../../recipe/profile.js');
  const { renderProfileReport } = await import('../../report/profile.js');
  const profile = await profileModel(await openInput(path), cli.engine, { session: cli.session, weights: true });
  await writeFileAtomic(report, renderProfileReport(profile));
  cli.say(`report: ${report}`);
}
