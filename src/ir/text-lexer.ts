// Tokens of ONNX text: identifiers, quoted strings, numbers and punctuation, each with its place. `#` and `//` start comments.
import { formatError, type PareError } from '../errors.js';

export type TokenKind = 'id' | 'string' | 'int' | 'float' | 'punctuation' | 'end';

export interface Token {
  readonly kind: TokenKind;
  /** Text as written; of a string its content. */
  readonly text: string;
  /** Offset of the first character. */
  readonly at: number;
}

const SPACE = /(?:\s+|#[^\n]*|\/\/[^\n]*)+/y;
const NUMBER = /[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![A-Za-z_])|[+-](?:inf|infinity|nan)\b/iy;
const IDENTIFIER = /[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*/y;
const PUNCTUATION = /=>|[<>()[\]{}=,:@?]/y;

export class Lexer {
  readonly #text: string;
  #at = 0;
  #ahead: Token[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  next(): Token {
    return this.#ahead.shift() ?? this.#scan();
  }

  /** Token `distance` places ahead, not consumed. */
  peek(distance = 0): Token {
    while (this.#ahead.length <= distance) this.#ahead.push(this.#scan());
    return this.#ahead[distance]!;
  }

  /** Consumes the next token if it is this punctuation (or identifier). */
  take(text: string): boolean {
    const token = this.peek();
    if (token.text !== text || token.kind === 'string') return false;
    this.next();
    return true;
  }

  expect(text: string): Token {
    const token = this.next();
    if (token.text !== text || token.kind === 'string') throw this.error(`expected "${text}", got ${show(token)}`, token);
    return token;
  }

  error(message: string, token = this.peek()): PareError {
    const before = this.#text.slice(0, token.at);
    const line = before.split('\n').length;
    const column = token.at - before.lastIndexOf('\n');
    return formatError(`line ${line}, column ${column}: ${message}`);
  }

  #scan(): Token {
    this.#match(SPACE);
    const at = this.#at;
    if (at >= this.#text.length) return { kind: 'end', text: '', at };
    if (this.#text[at] === '"') return { kind: 'string', text: this.#string(), at };
    const number = this.#match(NUMBER);
    if (number !== undefined) return { kind: /^[+-]?\d+$/.test(number) ? 'int' : 'float', text: number, at };
    const id = this.#match(IDENTIFIER);
    if (id !== undefined) return { kind: 'id', text: id, at };
    const punctuation = this.#match(PUNCTUATION);
    if (punctuation !== undefined) return { kind: 'punctuation', text: punctuation, at };
    throw this.error(`unexpected character "${this.#text[at]}"`, { kind: 'end', text: '', at });
  }

  /** A quoted string with the escapes of JSON; line breaks may stand in it as they are. */
  #string(): string {
    const start = this.#at++;
    for (;;) {
      const c = this.#text[this.#at];
      if (c === undefined) throw this.error('a string does not end', { kind: 'end', text: '', at: start });
      this.#at += c === '\\' ? 2 : 1;
      if (c === '"') break;
    }
    const literal = this.#text.slice(start, this.#at).replaceAll('\n', '\\n').replaceAll('\t', '\\t').replaceAll('\r', '\\r');
    try {
      return JSON.parse(literal) as string;
    } catch {
      throw this.error(`cannot read the string ${literal.slice(0, 40)}`, { kind: 'end', text: '', at: start });
    }
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }
}

export function show(token: Token): string {
  if (token.kind === 'end') return 'the end of the text';
  return token.kind === 'string' ? `the string ${JSON.stringify(token.text)}` : `"${token.text}"`;
}

/** True where text can stand unquoted as a name. */
export function isIdentifier(text: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(text);
}
