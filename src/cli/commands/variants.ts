// `pare variants`: the file set that transformers.js chooses from, made from a package with float models and proven in the runtimes at hand.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { PareError, runtimeError } from '../../errors.js';
import { openPackage } from '../../node/package-store.js';
import { wasmEngine } from '../../node/wasm-engine.js';
import type { VariantDevice } from '../../recipe/variants/measure.js';
import type { PackageModel } from '../../recipe/variants/package.js';
import { VARIANT_NAMES, type VariantName } from '../../recipe/variants/plan.js';
import { makeVariants } from '../../recipe/variants/run.js';
import { renderVariants } from '../render/variants.js';
import { type CliSession, openCliSession, openData, openMetric } from '../session.js';
import { addCommonFlags, addDataFlags, type CommonFlags, type DataFlags, parseBytes } from '../shared-options.js';

type Flags = CommonFlags &
  DataFlags & {
    readonly output: string;
    readonly dtypes?: readonly VariantName[];
    readonly dtype?: VariantName | 'fp32';
    readonly block?: number;
    readonly bnb4?: 'nf4' | 'fp4';
    readonly accuracyLevel?: number;
    readonly contribLookups?: boolean;
    readonly exclude?: readonly string[];
    readonly external?: boolean;
    readonly maxFileBytes?: number;
    readonly validation?: string;
    readonly calibrate: boolean;
    readonly verify: boolean;
    readonly wasm: boolean;
    readonly force?: boolean;
  };

export function addVariantsCommand(program: Command): void {
  const command = program
    .command('variants <dir>')
    .description('write every dtype of transformers.js from a package with float models, and prove that each loads and runs')
    .requiredOption('-o, --output <dir>', 'folder to write; the package itself adds to it')
    .addOption(new Option('--dtypes <list>', `which to write: ${VARIANT_NAMES.join(', ')} (default: all)`).argParser(variantList))
    .addOption(
      new Option('--dtype <name>', 'default to write into config.json (default: chosen by size and quality)').choices([
        'fp32',
        ...VARIANT_NAMES,
      ]),
    )
    .addOption(new Option('--block <n>', 'weights that share a scale in q4 and q2 (default 32)').argParser(Number))
    .addOption(new Option('--bnb4 <levels>', 'levels of bnb4').choices(['nf4', 'fp4']).default('nf4'))
    .addOption(new Option('--accuracy-level <n>', 'of 4-bit products: 4 computes in int8').argParser(Number))
    .addOption(
      new Option('--exclude <list>', 'names of nodes to leave float').argParser((text: string) => text.split(',').map((s) => s.trim())),
    )
    .option('--contrib-lookups', 'embeddings by GatherBlockQuantized, which the WebAssembly device of transformers.js lacks')
    .option('--external', 'write weights to data files always, not only beyond 2 GB')
    .addOption(new Option('--max-file-bytes <size>', 'largest data file (default: just under 2 GiB)').argParser(parseBytes))
    .option('--validation <spec>', 'data on which the files are measured (default: --data, on which q4, q2 and q1 are rounded)')
    .option('--no-calibrate', 'round q4, q2 and q1 without data: to nearest, q2 by HQQ')
    .option('--no-verify', 'do not load or run the files')
    .option('--no-wasm', 'verify in onnxruntime-node only')
    .option('--force', 'replace files that exist');
  addDataFlags(addCommonFlags(command));
  command.addHelpText(
    'after',
    `
Examples:
  pare variants bert -o bert-web --data train.tsv --validation test.tsv --metric top1
  pare variants whisper -o whisper-web --dtypes q8,q4,q4f16`,
  );
  command.action(async (folder: string, flags: Flags) => {
    const cli = openCliSession(flags);
    const measured = flags.validation ?? flags.data;
    const { limit, ...unlimited } = flags;
    try {
      const record = await makeVariants({
        store: openPackage(folder, flags.output, { force: flags.force }),
        engine: cli.engine,
        devices: flags.verify ? await devicesFor(cli, flags) : [],
        variants: flags.dtypes,
        dtype: flags.dtype,
        plan: {
          block: flags.block,
          bnb4: flags.bnb4,
          accuracyLevel: flags.accuracyLevel,
          contribLookups: flags.contribLookups,
          calibrated: flags.calibrate ? undefined : false,
          exclude: flags.exclude,
        },
        external: flags.external ?? 'auto',
        maxFileBytes: flags.maxFileBytes,
        data: measured === undefined ? undefined : (input, session) => dataFor(cli, folder, { ...flags, data: measured }, input, session),
        calibration:
          flags.data === undefined || flags.data === measured
            ? undefined
            : (input, session) => dataFor(cli, folder, unlimited, input, session),
        metric: (data) => openMetric(flags.metric, data),
        limit,
        memoryBytes: cli.memoryBytes,
        seed: flags.seed,
        shapes: flags.shape,
        onProgress: (p) => cli.progress.update(p),
      });
      cli.progress.stop();
      cli.say(renderVariants(record));
      cli.say(`wrote ${flags.output}`);
      cli.json(record);
      const failed = record.sessions.flatMap((s) => s.rows.filter((r) => r.failed).map((r) => `${s.session} ${r.variant} (${r.missing})`));
      if (failed.length > 0) throw runtimeError(`${failed.length} variants could not be made or run: ${failed.join('; ')}`);
    } finally {
      cli.progress.stop();
    }
  });
}

async function devicesFor(cli: CliSession, flags: Flags): Promise<VariantDevice[]> {
  const devices: VariantDevice[] = [{ name: flags.device ?? 'cpu', engine: cli.engine, session: cli.session }];
  const wasm = flags.wasm ? await wasmEngine() : undefined;
  if (wasm) devices.push({ name: 'wasm', engine: wasm, session: { device: 'wasm', threads: 1 } });
  else if (flags.wasm) cli.say('note: onnxruntime-web is not installed, so the files were not run as WebAssembly');
  return devices;
}

/** Data of the command line for one session; sessions that take other inputs are measured on random ones. */
async function dataFor(cli: CliSession, folder: string, flags: CommonFlags & DataFlags, input: PackageModel, session: string) {
  const own = join(folder, 'tokenizer.json');
  const tokenizer = flags.tokenizer ?? (existsSync(own) ? own : undefined);
  try {
    return await openData(cli, flags.data!, input, { ...flags, ...(tokenizer === undefined ? {} : { tokenizer }) });
  } catch (error) {
    if (!(error instanceof PareError) || error.code !== 'E_DATA') throw error;
    cli.say(`note: ${session} does not take the data (${error.message}): measured on random inputs`);
    return undefined;
  }
}

function variantList(text: string): VariantName[] {
  return text.split(',').map((part) => {
    const name = VARIANT_NAMES.find((n) => n === part.trim());
    if (name === undefined) throw new InvalidArgumentError(`expected some of ${VARIANT_NAMES.join(', ')}, got "${part.trim()}"`);
    return name;
  });
}
