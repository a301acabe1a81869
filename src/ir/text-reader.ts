// What parsing graphs and attributes share: names, lists, literals and tensors, on top of the tokens.
import { formatError, PareError } from '../errors.js';
import type { SparseTensor } from './attribute.js';
import { Tensor } from './tensor.js';
import { Lexer, show, type Token } from './text-lexer.js';
import { looksLikeType, parseType } from './text-types.js';
import { filledTensor, parseFloatWord, randomTensor, tensorFromTexts } from './text-values.js';
import { isStatic, type ValueType } from './type.js';

const FLOAT_WORDS = new Set(['inf', 'infinity', 'nan', 'true', 'false']);

export class TextReader extends Lexer {
  /** A name: an identifier, a quoted string or a plain number. */
  name(what: string): string {
    const token = this.next();
    if (token.kind === 'id' || token.kind === 'string' || token.kind === 'int') return token.text;
    throw this.error(`expected ${what}, got ${show(token)}`, token);
  }

  string(): string {
    const token = this.next();
    if (token.kind !== 'string') throw this.error(`expected a quoted string, got ${show(token)}`, token);
    return token.text;
  }

  integer(): bigint {
    const token = this.next();
    if (token.kind !== 'int') throw this.error(`expected a whole number, got ${show(token)}`, token);
    return BigInt(token.text);
  }

  optionalType(): ValueType | undefined {
    return looksLikeType(this) ? parseType(this) : undefined;
  }

  type(): ValueType {
    return parseType(this);
  }

  /** After a type: true where a tensor's content (or its name) follows. */
  startsTensor(): boolean {
    const token = this.peek();
    return token.text === '{' || token.text === '=' || token.kind === 'id' || token.kind === 'string';
  }

  /** Items separated by commas between two brackets; a comma may follow the last one. */
  list(open: string, close: string, item: () => void): void {
    this.expect(open);
    while (!this.take(close)) {
      item();
      if (!this.take(',') && this.peek().text !== close) throw this.error(`expected "," or "${close}", got ${show(this.peek())}`);
    }
  }

  /** Names up to `close`, which is consumed; nothing between two commas means an omitted one. */
  names(close: string, item: () => string): string[] {
    const names: string[] = [];
    while (!this.take(close)) {
      names.push(this.peek().text === ',' && this.peek().kind === 'punctuation' ? '' : item());
      if (!this.take(',') && this.peek().text !== close) throw this.error(`expected "," or "${close}", got ${show(this.peek())}`);
    }
    return names;
  }

  /** `["key": value, ...]` */
  pairs<T>(value: () => T): [string, T][] {
    const pairs: [string, T][] = [];
    this.list('[', ']', () => {
      const key = this.string();
      this.expect(':');
      pairs.push([key, value()]);
    });
    return pairs;
  }

  /** Content of a constant after its `=`: `{1, 2}`, `random`, `random(scale)` or `fill(value)`. */
  content(type: ValueType | undefined, name: string): Tensor {
    const start = this.peek();
    const { dtype, dims } = this.#tensorType(type, name, start);
    return this.#guard(start, () => {
      if (this.take('random')) {
        const scale = this.take('(') ? this.#number(true) : 1;
        return randomTensor(dtype, dims, name, scale);
      }
      if (this.take('fill')) {
        this.expect('(');
        return filledTensor(dtype, dims, this.#number(true));
      }
      return tensorFromTexts(dtype, dims, this.#elements());
    });
  }

  /** Tensor literal after its type: `name? =? {1, 2}`. */
  tensorLiteral(type: ValueType): Tensor {
    const named = this.peek().kind === 'id' || this.peek().kind === 'string' ? this.name('a name') : '';
    this.take('=');
    const tensor = this.content(type, named);
    if (named === '') return tensor;
    return new Tensor(
      tensor.dtype,
      tensor.dims,
      tensor.source,
      { name: named },
      tensor.dtype === 'string' ? tensor.stringBytes() : undefined,
    );
  }

  /** `{values, indices}` of a sparse tensor. */
  sparse(type: ValueType): SparseTensor {
    const start = this.expect('{');
    if (type.kind !== 'sparse' || !isStatic(type.shape)) throw this.error('a sparse constant needs known dimensions', start);
    const values = this.tensorLiteral(parseType(this));
    this.expect(',');
    const indices = this.tensorLiteral(parseType(this));
    this.expect('}');
    return { dims: type.shape, values, indices };
  }

  #number(thenClose: boolean): number {
    const token = this.next();
    const value = parseFloatWord(token.text);
    if (Number.isNaN(value) && token.text.toLowerCase() !== 'nan') throw this.error(`expected a number, got ${show(token)}`, token);
    if (thenClose) this.expect(')');
    return value;
  }

  #tensorType(type: ValueType | undefined, name: string, at: Token) {
    if (type?.kind !== 'tensor' || !isStatic(type.shape)) {
      throw this.error(`constant "${name}" needs a tensor type with known dimensions`, at);
    }
    return { dtype: type.dtype, dims: type.shape };
  }

  #elements(): string[] {
    const words: string[] = [];
    this.list('{', '}', () => {
      const token = this.next();
      const isWord = token.kind === 'id' && FLOAT_WORDS.has(token.text.toLowerCase());
      if (!isWord && token.kind !== 'int' && token.kind !== 'float' && token.kind !== 'string') {
        throw this.error(`expected an element of a tensor, got ${show(token)}`, token);
      }
      words.push(token.text);
    });
    return words;
  }

  /** Adds line and column to errors about types and shapes. */
  #guard<T>(start: Token, run: () => T): T {
    try {
      return run();
    } catch (error) {
      if (error instanceof PareError && error.code !== 'E_FORMAT') {
        throw formatError(this.error(error.message, start).message);
      }
      throw error;
    }
  }
}
