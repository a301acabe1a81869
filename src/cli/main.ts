// Entry of the command line: builds the program, runs it, and turns every ending into an exit code. The rest of the CLI only parses, calls and renders.
import { Command, CommanderError } from 'commander';
import { PareError } from '../errors.js';
import { VERSION } from '../util/version.js';

const EXIT_USAGE = 1;
/** 128 + SIGINT, as shells expect of a program that Ctrl-C ended. */
const EXIT_INTERRUPTED = 130;

/** Each command is loaded only when it is called, or for the general help: loading all of them takes longer than some of them run. */
const COMMANDS: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  profile: async () => (await import('./commands/profile.js')).addProfileCommand,
  simplify: async () => (await import('./commands/simplify.js')).addSimplifyCommand,
  quantize: async () => (await import('./commands/quantize.js')).addQuantizeCommand,
  compare: async () => (await import('./commands/compare.js')).addCompareCommand,
  variants: async () => (await import('./commands/variants.js')).addVariantsCommand,
  distill: async () => (await import('./commands/distill.js')).addDistillCommand,
  train: async () => (await import('./commands/train.js')).addTrainCommand,
  prune: async () => (await import('./commands/prune.js')).addPruneCommand,
  factorize: async () => (await import('./commands/factorize.js')).addFactorizeCommand,
  adapter: async () => (await import('./commands/adapter.js')).addAdapterCommand,
  compress: async () => (await import('./commands/compress.js')).addCompressCommand,
  new: async () => (await import('./commands/new.js')).addNewCommand,
};

/** The program with the command named `name`, or with all where there is none of that name. */
export async function buildProgram(name?: string): Promise<Command> {
  const program = new Command('pare')
    .description('Make trained neural networks smaller and faster: ONNX in; smaller ONNX out, verified and explained.')
    .version(VERSION)
    .showHelpAfterError('(see --help)')
    .exitOverride();
  const own = name === undefined || !Object.hasOwn(COMMANDS, name) ? undefined : COMMANDS[name];
  for (const load of own ? [own] : Object.values(COMMANDS)) (await load())(program);
  program.addHelpText('after', '\nExample:\n  pare quantize model.onnx -o model.int8.onnx --data calib.npz --report report.html');
  return program;
}

/** Runs the command line and answers the exit code: 0 done, 1 user error, 2 unsupported, 70 bug, 130 interrupted. */
export async function main(argv: readonly string[]): Promise<number> {
  // `pare ... | head` closes the pipe early: that is no failure of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  try {
    if (argv.length === 3 && (argv[2] === '--version' || argv[2] === '-V')) {
      process.stdout.write(`${VERSION}\n`);
      return 0;
    }
    const program = await buildProgram(argv[2]);
    await program.parseAsync([...argv]);
    return 0;
  } catch (error) {
    return reportError(error, argv.includes('--json'));
  }
}

function reportError(error: unknown, json: boolean): number {
  // Commander has printed its own message already.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  const known = toPareError(error);
  if (known.code === 'E_ABORTED') {
    process.stderr.write('interrupted; nothing was written\n');
    return EXIT_INTERRUPTED;
  }
  process.stderr.write(`${known.format()}\n`);
  if (known.kind === 'bug' && error instanceof Error && error.stack) process.stderr.write(`${error.stack}\n`);
  if (json) {
    const { code, message, place, hint } = known;
    process.stdout.write(`${JSON.stringify({ error: { code, message, place, hint } })}\n`);
  }
  return known.exitCode;
}

function toPareError(error: unknown): PareError {
  if (error instanceof PareError) return error;
  if (error instanceof Error && error.name === 'AbortError') return new PareError('E_ABORTED', 'user', 'aborted');
  const message = error instanceof Error ? error.message : String(error);
  return new PareError('E_BUG', 'bug', message, {
    hint: 'this is a bug in Pare; please report it with the command and the model',
    cause: error,
  });
}
