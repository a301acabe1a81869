// `pare quantize`: one command for every way of storing numbers in fewer bits.
import { type Command, Option } from 'commander';
import type { z } from 'zod';
import { usageError } from '../../errors.js';
import type { Pass } from '../../pass/define.js';
import { toBf16 } from '../../passes/precision/bf16.js';
import { toFp16 } from '../../passes/precision/fp16.js';
import { quantizeDynamic } from '../../passes/quantize/dynamic.js';
import { quantizeStatic } from '../../passes/quantize/static.js';
import { quantizeWeights } from '../../passes/quantize/weights.js';
import type { RuntimeName } from '../../quant/runtimes.js';
import { type PlanContext, type RunFlags, runWritingCommand } from '../run-passes.js';
import { addCommonFlags, addDataFlags, addWriteFlags, positiveInteger } from '../shared-options.js';
import { addZodFlags, foreignFlags, pickOptions } from '../zod-flags.js';

const MODES = {
  static: quantizeStatic,
  dynamic: quantizeDynamic,
  weights: quantizeWeights,
  fp16: toFp16,
  bf16: toBf16,
} as const;

type Mode = keyof typeof MODES;

type QuantizeFlags = RunFlags & {
  readonly mode?: Mode;
  readonly optimize?: 'latency' | 'size' | 'quality';
  readonly auto?: boolean;
  readonly maxTrials?: number;
  readonly weigh?: 'bytes' | 'macs';
};

export function addQuantizeCommand(program: Command): void {
  const command = program
    .command('quantize <model>')
    .description('store weights and activations in fewer bits, and prove the result against the original')
    .addOption(
      new Option(
        '--mode <mode>',
        'static: int8 with calibration data (QDQ); dynamic: int8, ranges at run time; weights: int8 or int4 storage; fp16; bf16',
      ).choices(Object.keys(MODES)),
    );
  addWriteFlags(addDataFlags(addCommonFlags(command)));
  command
    .addOption(
      new Option(
        '--optimize <goal>',
        '[static, dynamic, weights] latency: integers only where they are faster, by the clock; size: everything in 8 bits; quality: sensitive layers stay float',
      ).choices(['latency', 'size', 'quality']),
    )
    .option('--auto', '[static, dynamic, weights] look for causes of error, try the options that mend them, keep what helps')
    .addOption(
      new Option(
        '--max-trials <n>',
        'trials of settings that --max-drop may take (default: a third of the number of layers, 6 to 24)',
      ).argParser(positiveInteger),
    )
    .option(
      '--calibration-cache <path>',
      '[static] a .json file, or a folder, where measurements are kept: a second run with the same model, data and settings runs no calibration',
    )
    .addOption(
      new Option(
        '--calibration-shards <files>',
        '[static] calibration caches of runs on parts of the data, joined by commas: their statistics are merged instead of running --data (needs --no-equalize)',
      ).argParser((text: string, earlier: string[] | undefined) => [...(earlier ?? []), ...text.split(',').map((s) => s.trim())]),
    )
    .addOption(
      new Option('--weigh <what>', 'kept layers count by their bytes or their multiply-accumulates')
        .choices(['bytes', 'macs'])
        .default('macs'),
    );
  const schemas = Object.fromEntries(Object.entries(MODES).map(([mode, pass]) => [mode, pass.definition.options as z.ZodObject]));
  addZodFlags(command, schemas);
  command.addHelpText(
    'after',
    `
Without --mode: static where --data is given, else dynamic.

Examples:
  pare quantize model.onnx -o model.int8.onnx --data calib.npz --report report.html
  pare quantize model.onnx --data calib.npz --max-drop 0.5%     (keeps the fewest layers float that hold it)
  pare quantize model.onnx --data calib.npz --optimize latency --threads 1
  pare quantize model.onnx --data calib.npz --optimize latency --device wasm    (for onnxruntime-web)
  pare quantize model.onnx --data calib.npz --runtime tensorrt
  pare quantize model.onnx --data calib.npz --calibration-cache calib.json     (the second run is quick)
  pare quantize model.onnx --mode dynamic
  pare quantize model.onnx --mode weights --bits 4 --block 32
  pare quantize model.onnx --mode weights --bits 3 --method gptq --data calib.npz   (3 bits in the file, 4 in memory)
  pare quantize model.onnx --mode fp16 --data test.npz --metric top1 --max-drop 0.5%`,
  );
  command.action(async (model: string, flags: QuantizeFlags) => {
    const mode = flags.mode ?? (flags.data === undefined ? 'dynamic' : 'static');
    const foreign = foreignFlags(command, MODES[mode].definition.options, schemas);
    if (foreign.length > 0) {
      const list = foreign.map((f) => `${f.flag} (${f.modes.join(', ')})`).join(', ');
      throw usageError(`mode ${mode} has no ${list}`, { hint: 'leave it out, or choose the mode with --mode' });
    }
    const searchable = mode === 'static' || mode === 'dynamic' || mode === 'weights';
    const asked = flags.optimize !== undefined || flags.auto === true;
    if (asked && !searchable)
      throw usageError(`mode ${mode} has no --optimize and no --auto`, { hint: 'choose static, dynamic or weights' });
    const plan = async (context: PlanContext) => {
      if (!searchable || !(asked || (flags.maxDrop !== undefined && context.validation))) return undefined;
      const { planQuantization } = await import('../../recipe/quantize-plan.js');
      const { cli, ...rest } = context;
      const { limit, batch, shape: shapes, seed, optimize, auto, maxDrop, maxTrials, weigh } = flags;
      const options = chosenOptions(MODES[mode], command, flags);
      const wanted = { optimize, auto, maxDrop, maxTrials, weigh };
      return planQuantization({
        ...rest,
        ...wanted,
        engine: cli.engine,
        mode,
        pass: MODES[mode] as unknown as Pass,
        options,
        limit,
        batch,
        shapes,
        seed,
        session: cli.session,
        onProgress: (p) => cli.progress.update(p),
      });
    };
    await runWritingCommand('quantize', model, flags, () => [bind(MODES[mode], command, flags)], plan);
  });
}

function bind(pass: (typeof MODES)[Mode], command: Command, flags: QuantizeFlags) {
  return (pass as unknown as Pass)(chosenOptions(pass, command, flags));
}

/** Runtimes that follow from where the result is run, where none is named. */
const DEVICE_RUNTIMES: Partial<Record<NonNullable<QuantizeFlags['device']>, RuntimeName>> = { wasm: 'ort-wasm', webgpu: 'ort-webgpu' };

function chosenOptions(pass: (typeof MODES)[Mode], command: Command, flags: QuantizeFlags): Record<string, unknown> {
  const options = pickOptions(command, pass.definition.options);
  const runtime = flags.device && DEVICE_RUNTIMES[flags.device];
  return runtime && 'runtime' in (pass.definition.options as z.ZodObject).shape ? { runtime, ...options } : options;
}
