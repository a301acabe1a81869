// Options that several commands share, spelled and explained in one place.
import { type Command, InvalidArgumentError, Option } from 'commander';

export interface CommonFlags {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly seed: number;
  readonly threads?: number;
  readonly report?: string;
  readonly shape?: Readonly<Record<string, readonly number[]>>;
  readonly device?: 'cpu' | 'cuda' | 'webgpu' | 'wasm';
  readonly batch?: number;
  readonly memory?: number;
}

export interface DataFlags {
  readonly data?: string;
  readonly limit?: number;
  readonly preprocess?: string;
  readonly labels?: string;
  readonly tokenizer?: string;
  readonly text?: string;
  readonly label?: string;
  readonly metric?: string;
}

export interface WriteFlags {
  readonly output?: string;
  readonly verify: boolean;
  readonly force?: boolean;
  readonly validation?: string;
  readonly maxDrop?: number;
  readonly maxSize?: number;
  readonly maxLatency?: number;
}

export function addCommonFlags(command: Command): Command {
  return command
    .option('--json', 'print one JSON document on stdout, everything else on stderr')
    .option('--quiet', 'no progress and no table')
    .addOption(new Option('--seed <n>', 'seed of all randomness').argParser(wholeNumber).default(0))
    .addOption(new Option('--threads <n>', 'threads inside one operator (default: all cores)').argParser(positiveInteger))
    .option('--report <file.html>', 'write a self-contained HTML report')
    .addOption(
      new Option('--shape <name=d1,d2>', 'shape of an input with symbolic dimensions; may be repeated').argParser(
        (text: string, earlier: Record<string, number[]> | undefined) => ({ ...earlier, ...parseShape(text) }),
      ),
    )
    .addOption(new Option('--device <name>', 'where to run').choices(['cpu', 'cuda', 'webgpu', 'wasm']).default('cpu'))
    .addOption(new Option('--batch <n>', 'samples per run when timing (default 1)').argParser(positiveInteger))
    .addOption(
      new Option('--memory <size>', 'memory that verification may use, e.g. 4GB (default: half of what is free)').argParser(parseBytes),
    );
}

export function addDataFlags(command: Command): Command {
  return command
    .option(
      '--data <spec>',
      'random[:N], x.npz, x.npy, DIR, .zip or .tar(.gz) of pictures or .wav files, x.csv|tsv|jsonl, x.txt, x.wav, idx:IMAGES,LABELS, cifar:FILE',
    )
    .addOption(new Option('--limit <n>', 'use at most this many samples').argParser(positiveInteger))
    .option('--preprocess <preset>', 'imagenet, mobilenet, cifar, mnist, unit, none, or a JSON file')
    .option('--labels <name>', 'name of the labels array of an .npz; else a file with one class name per line')
    .option('--tokenizer <file>', 'tokenizer.json, or a JSON vocabulary of characters, for text data')
    .option('--text <column>', 'column with the text, by name or position; a,b for a pair')
    .option('--label <column>', 'column with the label, by name or position')
    .option(
      '--metric <name>',
      'top1, top5, f1, mcc, pearson, spearman, mse, loss, perplexity, agreement, cosine, kl, or a FILE.js|FILE.ts',
    );
}

export function addWriteFlags(command: Command): Command {
  return command
    .option('-o, --output <file>', 'file to write (default: model.<command>.onnx beside the input)')
    .option('--validation <spec>', 'data on which quality is measured (default: --data)')
    .option('--no-verify', 'do not run the result; the table and the file then say "not verified"')
    .option('--force', 'allow writing over the input file')
    .addOption(new Option('--max-drop <x>', 'largest loss of quality allowed: 0.5% or 0.005').argParser(parseFraction))
    .addOption(new Option('--max-size <size>', 'largest file allowed, e.g. 5MB').argParser(parseBytes))
    .addOption(new Option('--max-latency <ms>', 'largest median latency allowed in milliseconds').argParser(positiveNumber));
}

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError(`expected a whole number, got "${text}"`);
  return Number(text);
}

export function positiveInteger(text: string): number {
  const n = wholeNumber(text);
  if (n < 1) throw new InvalidArgumentError(`expected at least 1, got ${n}`);
  return n;
}

function positiveNumber(text: string): number {
  const n = Number(text);
  if (!(n > 0)) throw new InvalidArgumentError(`expected a positive number, got "${text}"`);
  return n;
}

/** "0.5%" -> 0.005, "0.005" -> 0.005. */
export function parseFraction(text: string): number {
  const match = /^(\d+(?:\.\d+)?|\.\d+)\s*(%?)$/.exec(text.trim());
  if (!match) throw new InvalidArgumentError(`expected a fraction or a percentage, got "${text}"`);
  const value = Number(match[1]) / (match[2] ? 100 : 1);
  if (value > 1) throw new InvalidArgumentError(`expected at most 1 or 100%, got "${text}"; did you mean ${text}%?`);
  return value;
}

const BYTE_SUFFIX: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12, ki: 1024, mi: 1024 ** 2, gi: 1024 ** 3 };

/** "5MB" -> 5,000,000; "4GiB" -> 4 * 2^30. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?$/i.exec(text.trim());
  const factor = match && BYTE_SUFFIX[match[2]!.toLowerCase()];
  if (!match || factor === undefined || factor === null)
    throw new InvalidArgumentError(`expected a size such as 500kB, 5MB or 4GB, got "${text}"`);
  return Math.round(Number(match[1]) * factor);
}

/** "input_ids=1,128" -> { input_ids: [1, 128] }. */
export function parseShape(text: string): Record<string, number[]> {
  const at = text.lastIndexOf('=');
  const dims = text.slice(at + 1).split(/[,x]/);
  if (at < 1 || !dims.every((d) => /^\d+$/.test(d) && Number(d) > 0))
    throw new InvalidArgumentError(`expected name=1,3,224,224, got "${text}"`);
  return { [text.slice(0, at)]: dims.map(Number) };
}
