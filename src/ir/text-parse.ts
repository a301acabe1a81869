// ONNX text to models (https://onnx.ai/onnx/repo-docs/Syntax.html). Errors are E_FORMAT with line and column.
// Beyond the standard, for tests: the header may be left out (opset 21, and version 1 of every other domain that is used),
// `w = random`, `w = random(0.1)` and `w = fill(1)` make content, and values may come without types.

import { DEFAULT_IR_VERSION, DEFAULT_OPSET } from './builder.js';
import type { Graph } from './graph.js';
import { linkAttribute, linkGraph } from './link.js';
import { type LocalFunction, Model } from './model.js';
import { newRawGraph, type RawAttribute, type RawGraph, type RawNode } from './raw.js';
import { parseAttribute } from './text-attributes.js';
import { type Lexer, show } from './text-lexer.js';
import { TextReader } from './text-reader.js';

/** Parses a model: header (optional), main graph, local functions. */
export function parseModel(text: string): Model {
  const r = new TextReader(text);
  const header = r.peek().text === '<' ? parseHeader(r) : newHeader();
  const raw = parseRawGraph(r);
  const functions: RawFunction[] = [];
  while (r.peek().kind !== 'end') functions.push(parseFunction(r));
  const opsets = header.opsets ?? new Map([['', DEFAULT_OPSET]]);
  if (!header.opsets) for (const domain of domainsOf(raw, functions)) if (!opsets.has(domain)) opsets.set(domain, 1);
  const model = new Model(linkGraph(raw, null), opsets, header.irVersion);
  model.producerName = header.texts.get('producer_name') ?? '';
  model.producerVersion = header.texts.get('producer_version') ?? '';
  model.domain = header.texts.get('domain') ?? '';
  model.modelVersion = header.modelVersion;
  model.doc = header.texts.get('doc_string');
  for (const [key, value] of header.metadata) model.metadata.set(key, value);
  model.functions = functions.map((f) => linkFunction(f, opsets));
  return model;
}

/** Parses a single graph. */
export function parseGraph(text: string): Graph {
  const r = new TextReader(text);
  const raw = parseRawGraph(r);
  if (r.peek().kind !== 'end') throw r.error(`expected the end of the graph, got ${show(r.peek())}`);
  return linkGraph(raw, null);
}

interface Header {
  irVersion: number;
  modelVersion: bigint;
  opsets: Map<string, number> | undefined;
  readonly metadata: Map<string, string>;
  readonly texts: Map<string, string>;
}

function newHeader(): Header {
  return { irVersion: DEFAULT_IR_VERSION, modelVersion: 0n, opsets: undefined, metadata: new Map(), texts: new Map() };
}

const TEXT_KEYS = new Set(['producer_name', 'producer_version', 'domain', 'doc_string', 'overload']);

function parseHeader(r: TextReader): Header {
  const header = newHeader();
  r.expect('<');
  while (!r.take('>')) {
    const key = r.next();
    r.expect(':');
    if (key.text === 'ir_version') header.irVersion = Number(r.integer());
    else if (key.text === 'model_version') header.modelVersion = r.integer();
    else if (key.text === 'opset_import') header.opsets = new Map(r.pairs(() => Number(r.integer())));
    else if (key.text === 'metadata_props') for (const [k, v] of r.pairs(() => r.string())) header.metadata.set(k, v);
    else if (TEXT_KEYS.has(key.text)) header.texts.set(key.text, r.string());
    else throw r.error(`expected a model property such as opset_import, got ${show(key)}`, key);
    if (!r.take(',') && r.peek().text !== '>') throw r.error(`expected "," or ">", got ${show(r.peek())}`);
  }
  return header;
}

/** `name (inputs) => (outputs) <constants and types> { nodes }` */
export function parseRawGraph(r: TextReader): RawGraph {
  const graph = newRawGraph();
  graph.name = r.name('the name of a graph');
  r.list('(', ')', () => parseDeclaration(r, graph, graph.inputs));
  r.expect('=>');
  r.list('(', ')', () => parseDeclaration(r, graph, graph.outputs));
  parseBody(r, graph);
  return graph;
}

function parseBody(r: TextReader, graph: RawGraph): void {
  if (r.peek().text === '<') r.list('<', '>', () => parseDeclaration(r, graph, graph.valueInfos));
  r.expect('{');
  while (!r.take('}')) graph.nodes.push(parseNode(r, graph));
}

/** `type? name (= content)?`: goes to `into`, and its content to the graph's constants. */
function parseDeclaration(r: TextReader, graph: RawGraph, into: RawGraph['inputs']): void {
  const type = r.optionalType();
  const name = r.name('a name');
  const hasContent = r.take('=');
  if (hasContent && type?.kind === 'sparse') {
    graph.sparse.push({ ...r.sparse(type), name });
    return;
  }
  if (hasContent) graph.initializers.push({ name, tensor: r.content(type, name) });
  // A constant among the value infos is described by its tensor.
  if (!hasContent || into !== graph.valueInfos) {
    into.push({ name, type, doc: undefined, metadata: undefined, unknown: undefined });
  }
}

/** `[label] outputs = domain.Op:overload <attributes> (inputs)`, the attributes before or after the inputs. */
function parseNode(r: TextReader, graph: RawGraph): RawNode {
  let name = '';
  if (r.take('[')) {
    name = r.name('the name of a node');
    r.expect(']');
  }
  const first = r.peek();
  const outputs = startsWithOperator(r) ? [] : r.names('=', () => declareOutput(r, graph));
  const op = r.next();
  if (op.kind !== 'id' && op.kind !== 'string') throw r.error(`expected an operator, got ${show(op)}`, op);
  const dot = op.text.lastIndexOf('.');
  const overload = r.take(':') ? r.name('an overload') : '';
  const attributes: RawAttribute[] = [];
  const readAttributes = () => {
    if (r.peek().text === '<') r.list('<', '>', () => attributes.push(parseAttribute(r)));
  };
  readAttributes();
  const inputs: string[] = [];
  r.expect('(');
  inputs.push(...r.names(')', () => r.name('an input')));
  readAttributes();
  if (op.text === '') throw r.error('a node has no operator', first);
  return {
    inputs,
    outputs,
    opType: op.text.slice(dot + 1),
    domain: dot < 0 ? '' : normalDomain(op.text.slice(0, dot)),
    overload,
    name,
    attributes,
    doc: undefined,
    metadata: undefined,
    unknown: undefined,
  };
}

/** An output may carry its type: `float[N] y = Relu(x)`. */
function declareOutput(r: TextReader, graph: RawGraph): string {
  const type = r.optionalType();
  const name = r.name('an output');
  if (type) graph.valueInfos.push({ name, type, doc: undefined, metadata: undefined, unknown: undefined });
  return name;
}

/** A node without outputs starts with its operator: an identifier that a bracket follows. */
function startsWithOperator(r: Lexer): boolean {
  const after = r.peek(1);
  return r.peek().kind !== 'punctuation' && after.kind === 'punctuation' && '(<:'.includes(after.text);
}

interface RawFunction {
  readonly body: RawGraph;
  readonly header: Header;
  readonly attributes: readonly string[];
  readonly defaults: readonly RawAttribute[];
}

/** `<domain: ..., opset_import: ...> name <parameters> (inputs) => (outputs) { nodes }` */
function parseFunction(r: TextReader): RawFunction {
  const header = r.peek().text === '<' ? parseHeader(r) : newHeader();
  const body = newRawGraph();
  body.name = r.name('the name of a function');
  const attributes: string[] = [];
  const defaults: RawAttribute[] = [];
  if (r.peek().text === '<') {
    r.list('<', '>', () => {
      if (r.peek(1).text === ',' || r.peek(1).text === '>') attributes.push(r.name('a parameter'));
      else defaults.push(parseAttribute(r));
    });
  }
  r.list('(', ')', () => parseDeclaration(r, body, body.inputs));
  r.expect('=>');
  r.list('(', ')', () => parseDeclaration(r, body, body.outputs));
  parseBody(r, body);
  return { body, header, attributes, defaults };
}

function linkFunction(raw: RawFunction, modelOpsets: ReadonlyMap<string, number>): LocalFunction {
  const { header, body } = raw;
  return {
    name: body.name,
    domain: normalDomain(header.texts.get('domain') ?? ''),
    overload: header.texts.get('overload') ?? '',
    graph: linkGraph(body, null),
    attributes: raw.attributes,
    attributeDefaults: new Map(raw.defaults.map((a) => [a.name, linkAttribute(a.value, null)])),
    opsets: header.opsets ?? new Map(modelOpsets),
    doc: header.texts.get('doc_string'),
    metadata: header.metadata.size > 0 ? header.metadata : undefined,
    unknown: undefined,
  };
}

function normalDomain(domain: string): string {
  return domain === 'ai.onnx' ? '' : domain;
}

/** Domains of all nodes, so that a text without a header imports what it uses. */
function domainsOf(graph: RawGraph, functions: readonly RawFunction[]): Set<string> {
  const found = new Set<string>();
  const visit = (g: RawGraph) => {
    for (const node of g.nodes) {
      found.add(node.domain);
      for (const { value } of node.attributes) if ('graphs' in value) value.graphs.forEach(visit);
    }
  };
  visit(graph);
  for (const f of functions) visit(f.body);
  return found;
}
