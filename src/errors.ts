// Every error a user can see is made here: one function per code, so that wording, exit code and hint stay together.
// Three kinds decide the exit code: the user's mistake (1), something Pare or the runtime does not support (2), our bug (70).

export type ErrorKind = 'user' | 'unsupported' | 'bug';

const EXIT_CODES: Record<ErrorKind, number> = { user: 1, unsupported: 2, bug: 70 };

/** Where an error happened. Every field is optional; the message shows those that are set. */
export interface ErrorPlace {
  readonly pass?: string;
  readonly node?: string;
  readonly value?: string;
  readonly file?: string;
  /** Byte offset in `file`. */
  readonly offset?: number;
}

export class PareError extends Error {
  readonly code: string;
  readonly kind: ErrorKind;
  readonly place: ErrorPlace;
  readonly hint: string | undefined;

  constructor(
    code: string,
    kind: ErrorKind,
    message: string,
    options: { place?: ErrorPlace | undefined; hint?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'PareError';
    this.code = code;
    this.kind = kind;
    this.place = options.place ?? {};
    this.hint = options.hint;
  }

  /** Process exit code of the kind: 1 user, 2 unsupported, 70 bug. */
  get exitCode(): number {
    return EXIT_CODES[this.kind];
  }

  /** The whole message as a terminal shows it: code, message, place and hint. */
  format(): string {
    const { pass, node, value, file, offset } = this.place;
    const where = [
      file && `file ${file}${offset === undefined ? '' : ` at byte ${offset}`}`,
      pass && `pass ${pass}`,
      node && `node ${node}`,
      value && `value ${value}`,
    ].filter(Boolean);
    const lines = [`${this.code}: ${this.message}`];
    if (where.length > 0) lines.push(`  in ${where.join(', ')}`);
    if (this.hint) lines.push(`  hint: ${this.hint}`);
    return lines.join('\n');
  }

  /** A copy that speaks of the file `to` wherever this one speaks of `from`: a temporary name means nothing to the user. */
  renamed(from: string, to: string): PareError {
    const { file } = this.place;
    const place = file === undefined ? this.place : { ...this.place, file: file.replaceAll(from, to) };
    return new PareError(this.code, this.kind, this.message.replaceAll(from, to), { place, hint: this.hint, cause: this.cause });
  }

  /** A copy with this hint. */
  withHint(hint: string): PareError {
    return new PareError(this.code, this.kind, this.message, { place: this.place, hint, cause: this.cause });
  }

  /** A copy with more of the place filled in; what was known already stays. */
  at(place: ErrorPlace): PareError {
    return new PareError(this.code, this.kind, this.message, { place: { ...place, ...this.place }, hint: this.hint, cause: this.cause });
  }
}

type Extra = { place?: ErrorPlace; hint?: string; cause?: unknown };

/** A file that is not what it claims to be: truncated, corrupt or hostile. */
export const formatError = (message: string, extra?: Extra) => new PareError('E_FORMAT', 'user', message, extra);

/** A path, option or argument the user gave is wrong or missing. */
export const usageError = (message: string, extra?: Extra) => new PareError('E_USAGE', 'user', message, extra);

/** Reading or writing failed: not found, no permission, disk full. */
export const fileError = (message: string, extra?: Extra) => new PareError('E_FILE', 'user', message, extra);

/** External data that escapes the model's folder or lies outside its file. */
export const externalDataError = (message: string, extra?: Extra) => new PareError('E_EXTERNAL_DATA', 'user', message, extra);

/** Shapes do not fit: always names expected and actual. */
export const shapeError = (message: string, extra?: Extra) => new PareError('E_SHAPE', 'user', message, extra);

/** Element types do not fit: always names expected and actual. */
export const typeError = (message: string, extra?: Extra) => new PareError('E_TYPE', 'user', message, extra);

/** A graph that breaks a rule of ONNX: cycles, missing values, duplicate names. */
export const graphError = (message: string, extra?: Extra) => new PareError('E_GRAPH', 'user', message, extra);

/** Data that does not fit the model or cannot be read. */
export const dataError = (message: string, extra?: Extra) => new PareError('E_DATA', 'user', message, extra);

/** The result is worse than what was asked for (`--max-drop`, `--max-size`, `--max-latency`, or a failed verification). */
export const qualityError = (message: string, extra?: Extra) => new PareError('E_QUALITY', 'user', message, extra);

/** The runtime refused to load or run a model. */
export const runtimeError = (message: string, extra?: Extra) => new PareError('E_RUNTIME', 'user', message, extra);

/** A training met NaN or infinity. */
export const nonFiniteError = (message: string, extra?: Extra) => new PareError('E_NON_FINITE', 'user', message, extra);

/** Something asked for is too large for the limit set. */
export const limitError = (message: string, extra?: Extra) => new PareError('E_LIMIT', 'user', message, extra);

/** The user pressed Ctrl-C or the caller's signal aborted. */
export const abortError = (extra?: Extra) => new PareError('E_ABORTED', 'user', 'aborted', extra);

/** The operation has nothing to act on in this model (nothing to quantize, nothing to prune). */
export const nothingToDoError = (message: string, extra?: Extra) => new PareError('E_NOTHING_TO_DO', 'unsupported', message, extra);

/** Operators, types or targets that are not supported: names every one of them at once. */
export const unsupportedError = (message: string, extra?: Extra) => new PareError('E_UNSUPPORTED', 'unsupported', message, extra);

/** A broken invariant of Pare itself. */
export const bugError = (message: string, extra?: Extra) =>
  new PareError('E_BUG', 'bug', message, { hint: 'this is a bug in Pare; please report it with the command and the model', ...extra });
