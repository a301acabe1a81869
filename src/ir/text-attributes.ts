// Attributes in ONNX text: `axis = 1`, `alpha: float = @beta`, `then_branch = g () => (y) { ... }`, `value = float[2] {1, 2}`.
// The kind follows from the literal unless it is written: an empty list needs it, a reference has it.
import type { Attribute, Text } from './attribute.js';
import type { RawAttribute, RawGraph } from './raw.js';
import { show } from './text-lexer.js';
import { parseRawGraph } from './text-parse.js';
import type { TextReader } from './text-reader.js';
import { parseFloatWord } from './text-values.js';

type RawValue = RawAttribute['value'];
type Kind = Exclude<Attribute['type'], 'ref'>;

const LIST_OF: Partial<Record<Kind, Kind>> = {
  float: 'floats',
  int: 'ints',
  string: 'strings',
  tensor: 'tensors',
  graph: 'graphs',
  sparse_tensor: 'sparse_tensors',
  type_proto: 'type_protos',
};
const KINDS = new Set<string>([...Object.keys(LIST_OF), ...Object.values(LIST_OF)]);

export function parseAttribute(r: TextReader): RawAttribute {
  const name = r.name('the name of an attribute');
  let kind: Kind | undefined;
  if (r.take(':')) {
    const token = r.next();
    if (!KINDS.has(token.text)) throw r.error(`expected the type of an attribute (${[...KINDS].join(', ')}), got ${show(token)}`, token);
    kind = token.text as Kind;
  }
  r.expect('=');
  const start = r.peek();
  if (r.take('@')) {
    const ref = r.name('the name of a parameter');
    if (kind === undefined) throw r.error(`the reference "${name} = @${ref}" needs a type, as in "${name}: float = @${ref}"`, start);
    return { name, value: { type: 'ref', ref, of: kind } };
  }
  const value = r.peek().text === '[' && r.peek().kind === 'punctuation' ? parseList(r, kind) : parseSingle(r, kind);
  if (kind !== undefined && value.type !== kind) throw r.error(`attribute "${name}": expected ${kind}, got ${value.type}`, start);
  return { name, value };
}

function parseSingle(r: TextReader, wanted: Kind | undefined): RawValue {
  const token = r.peek();
  if (token.kind === 'string' && r.peek(1).text !== '(') return { type: 'string', value: r.string() };
  if (token.kind === 'int' && wanted !== 'float') return { type: 'int', value: BigInt.asIntN(64, r.integer()) };
  if (token.kind === 'float' || token.kind === 'int' || /^(inf|infinity|nan)$/i.test(token.text)) {
    return { type: 'float', value: Math.fround(parseFloatWord(r.next().text)) };
  }
  if (token.text === 'bytes' && r.peek(2).kind === 'string' && r.peek(3).text === ')') return { type: 'string', value: parseBytes(r) };
  const type = r.optionalType() ?? (wanted === 'type_proto' ? r.type() : undefined);
  if (type?.kind === 'sparse' && r.peek().text === '{') return { type: 'sparse_tensor', value: r.sparse(type) };
  if (type && r.startsTensor()) return { type: 'tensor', value: r.tensorLiteral(type) };
  if (type) return { type: 'type_proto', value: type };
  if (token.kind === 'id' || token.kind === 'string') return { type: 'graph', graphs: [parseRawGraph(r)] };
  throw r.error(`expected the value of an attribute, got ${show(token)}`, token);
}

function parseBytes(r: TextReader): Text {
  r.expect('bytes');
  r.expect('(');
  const hex = r.string();
  r.expect(')');
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function parseList(r: TextReader, kind: Kind | undefined): RawValue {
  const element = (Object.keys(LIST_OF) as Kind[]).find((k) => LIST_OF[k] === kind);
  const items: RawValue[] = [];
  const start = r.peek();
  r.list('[', ']', () => items.push(parseSingle(r, element)));
  const single = items.some((item) => item.type === 'float') ? 'float' : (items[0]?.type ?? element ?? 'int');
  const mixed = items.find((item) => item.type !== single && !(single === 'float' && item.type === 'int'));
  if (mixed) throw r.error(`a list holds both ${single} and ${mixed.type}`, start);
  const values = items.map((item) => ('graphs' in item ? item.graphs[0]! : item.type === 'ref' ? item.ref : item.value));
  const type = kind ?? LIST_OF[single as Kind]!;
  if (type === 'graphs') return { type, graphs: values as RawGraph[] };
  return { type, value: type === 'floats' ? values.map(Number) : values } as RawValue;
}
