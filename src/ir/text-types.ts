// Types in ONNX text: `float[N,3]`, `float` (a scalar), `float[]` (unknown rank), `seq(...)`, `map(...)`, `optional(...)`, `sparse_tensor(...)`.
import { DTYPES, type DType } from './dtype.js';
import { type Lexer, show } from './text-lexer.js';
import type { Dim, Shape, ValueType } from './type.js';

const CONSTRUCTORS = new Set(['seq', 'map', 'optional', 'sparse_tensor', 'opaque']);

export function isDType(text: string): text is DType {
  return Object.hasOwn(DTYPES, text);
}

/** True where a type starts here and a name (or a dimension list) follows, rather than a name that happens to be called like a type. */
export function looksLikeType(lexer: Lexer): boolean {
  const token = lexer.peek();
  if (token.kind !== 'id') return false;
  const after = lexer.peek(1);
  if (isDType(token.text)) return after.kind === 'id' || after.kind === 'string' || after.text === '[' || after.text === '{';
  return CONSTRUCTORS.has(token.text) && after.kind === 'punctuation' && after.text === '(';
}

export function parseType(lexer: Lexer): ValueType {
  const token = lexer.next();
  if (token.kind === 'id' && isDType(token.text)) return { kind: 'tensor', dtype: token.text, shape: parseShape(lexer) };
  if (token.kind !== 'id' || !CONSTRUCTORS.has(token.text))
    throw lexer.error(`expected a type such as float[N,3], got ${show(token)}`, token);
  lexer.expect('(');
  const type = parseConstructed(lexer, token.text);
  lexer.expect(')');
  return type;
}

function parseConstructed(lexer: Lexer, kind: string): ValueType {
  switch (kind) {
    case 'seq':
      return { kind: 'sequence', element: parseElement(lexer) };
    case 'optional':
      return { kind: 'optional', element: parseElement(lexer) };
    case 'sparse_tensor':
      return { kind: 'sparse', dtype: parseDType(lexer), shape: parseShape(lexer) };
    case 'map': {
      const key = parseDType(lexer);
      lexer.expect(',');
      return { kind: 'map', key, value: parseElement(lexer) };
    }
    default: {
      const domain = lexer.next().text;
      lexer.expect(',');
      return { kind: 'opaque', domain, name: lexer.next().text };
    }
  }
}

function parseElement(lexer: Lexer): ValueType | null {
  return lexer.take('?') ? null : parseType(lexer);
}

function parseDType(lexer: Lexer): DType {
  const token = lexer.next();
  if (token.kind !== 'id' || !isDType(token.text)) throw lexer.error(`expected an element type, got ${show(token)}`, token);
  return token.text;
}

function parseShape(lexer: Lexer): Shape | null {
  if (!lexer.take('[')) return [];
  if (lexer.take(']')) return null;
  const dims: Dim[] = [];
  do {
    const token = lexer.next();
    if (token.kind === 'int' && Number(token.text) >= 0) dims.push(Number(token.text));
    else if (token.kind === 'id' || token.kind === 'string') dims.push(token.text);
    else if (token.text === '?') dims.push(null);
    else throw lexer.error(`expected a dimension, got ${show(token)}`, token);
  } while (lexer.take(','));
  lexer.expect(']');
  return dims;
}
