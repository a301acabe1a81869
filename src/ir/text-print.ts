// Model to ONNX text (https://onnx.ai/onnx/repo-docs/Syntax.html). Names that are no identifiers are quoted, symbolic expressions too.
// Beyond the standard: sparse initializers, bytes in string attributes. Not written: documentation, and metadata below the model.

import type { Attribute, SparseTensor, Text } from './attribute.js';
import { DTYPES } from './dtype.js';
import type { Graph, Node, Value } from './graph.js';
import type { LocalFunction, Model } from './model.js';
import type { Tensor } from './tensor.js';
import { isIdentifier } from './text-lexer.js';
import { elementTexts, floatLiteral } from './text-values.js';
import type { Dim, Shape, ValueType } from './type.js';

export interface PrintOptions {
  /** Longer tensors end in `...` and do not parse again; all elements by default. */
  readonly maxElements?: number | undefined;
}

/** Text of a whole model; `parseModel` reads it back. */
export function printModel(model: Model, options: PrintOptions = {}): string {
  const header = [`ir_version: ${model.irVersion}`, `opset_import: ${printOpsets(model.opsets)}`];
  if (model.producerName !== '') header.push(`producer_name: ${quote(model.producerName)}`);
  if (model.producerVersion !== '') header.push(`producer_version: ${quote(model.producerVersion)}`);
  if (model.domain !== '') header.push(`domain: ${quote(model.domain)}`);
  if (model.modelVersion !== 0n) header.push(`model_version: ${model.modelVersion}`);
  if (model.doc !== undefined) header.push(`doc_string: ${quote(model.doc)}`);
  if (model.metadata.size > 0)
    header.push(`metadata_props: [${[...model.metadata].map(([k, v]) => `${quote(k)}: ${quote(v)}`).join(', ')}]`);
  const printer = new Printer(options);
  const parts = [`<\n  ${header.join(',\n  ')}\n>`, printGraph(model.graph, options), ...model.functions.map((f) => printer.function(f))];
  return `${parts.join('\n')}\n`;
}

/** Text of a graph with its subgraphs. */
export function printGraph(graph: Graph, options: PrintOptions = {}): string {
  return new Printer(options).graph(graph, '');
}

class Printer {
  readonly #max: number;

  constructor(options: PrintOptions) {
    this.#max = options.maxElements ?? Number.POSITIVE_INFINITY;
  }

  graph(graph: Graph, indent: string): string {
    const inputs = graph.inputs.map((v) => this.#valueInfo(v, hasTypeOfDefault(v) ? v.initializer : null)).join(', ');
    const outputs = graph.outputs.map((v) => this.#valueInfo(v, null)).join(', ');
    const head = `${printName(graph.name || 'graph')} (${inputs}) => (${outputs})`;
    return `${head}${this.#initializers(graph, indent)} {${this.#nodes(graph, indent)}\n${indent}}`;
  }

  function(f: LocalFunction): string {
    const header = [`domain: ${quote(f.domain)}`, `opset_import: ${printOpsets(f.opsets)}`];
    if (f.overload !== '') header.push(`overload: ${quote(f.overload)}`);
    if (f.doc !== undefined) header.push(`doc_string: ${quote(f.doc)}`);
    const parameters = [
      ...f.attributes.map(printName),
      ...[...f.attributeDefaults].map(([name, a]) => `${printName(name)}: ${a.type} = ${this.#attributeValue(a, '')}`),
    ];
    const names = (values: readonly Value[]) => values.map((v) => printName(v.name)).join(', ');
    const head = `${printName(f.name)}${parameters.length > 0 ? ` <${parameters.join(', ')}>` : ''}`;
    const io = `(${names(f.graph.inputs)}) => (${names(f.graph.outputs)})`;
    return `<\n  ${header.join(',\n  ')}\n>\n${head} ${io}${this.#initializers(f.graph, '', true)} {${this.#nodes(f.graph, '')}\n}`;
  }

  /** Constants and the types of inner values, in angle brackets. */
  #initializers(graph: Graph, indent: string, inFunction = false): string {
    const io = new Set<Value>(inFunction ? [] : [...graph.inputs, ...graph.outputs]);
    const items: string[] = [];
    for (const value of graph.values()) {
      if (value.sparse)
        items.push(
          `${printType({ kind: 'sparse', dtype: value.sparse.values.dtype, shape: value.sparse.dims })} ${printName(value.name)} = ${this.#sparse(value.sparse)}`,
        );
      else if (value.initializer && !(io.has(value) && hasTypeOfDefault(value))) items.push(this.#constant(value, value.initializer));
      else if (value.type && !io.has(value)) items.push(this.#valueInfo(value, null));
    }
    if (items.length === 0) return '';
    return `\n${indent}<\n${items.map((item) => `${indent}  ${item}`).join(',\n')}\n${indent}>`;
  }

  #valueInfo(value: Value, initializer: Tensor | null): string {
    const head = value.type ? `${printType(value.type)} ${printName(value.name)}` : printName(value.name);
    return initializer ? `${head} = ${this.#elements(initializer)}` : head;
  }

  #constant(value: Value, { dtype, dims }: Tensor): string {
    return `${printType({ kind: 'tensor', dtype, shape: dims })} ${printName(value.name)} = ${this.#elements(value.initializer!)}`;
  }

  #nodes(graph: Graph, indent: string): string {
    return graph.nodes.map((node) => `\n${indent}  ${this.#node(node, `${indent}  `)}`).join('');
  }

  #node(node: Node, indent: string): string {
    const label = node.name === '' ? '' : `[${printName(node.name)}] `;
    const list = (values: readonly (Value | null)[]) => values.map((v) => (v ? printName(v.name) : '""')).join(', ');
    const outputs = node.outputs.length === 0 ? '' : `${list(node.outputs)} = `;
    const op = isQualified(node.op) ? node.op : quote(node.op);
    const overload = node.overload === '' ? '' : `:${printName(node.overload)}`;
    const attributes = [...node.attributes].map(([name, a]) => this.#attribute(name, a, indent));
    return `${label}${outputs}${op}${overload}${attributes.length > 0 ? ` <${attributes.join(', ')}>` : ''} (${list(node.inputs)})`;
  }

  #attribute(name: string, a: Attribute, indent: string): string {
    if (a.type === 'ref') return `${printName(name)}: ${a.of} = @${printName(a.ref)}`;
    const needsType = a.type === 'type_proto' || a.type === 'type_protos' || (Array.isArray(a.value) && a.value.length === 0);
    return `${printName(name)}${needsType ? `: ${a.type}` : ''} = ${this.#attributeValue(a, indent)}`;
  }

  #attributeValue(a: Attribute, indent: string): string {
    switch (a.type) {
      case 'float':
        return floatLiteral(a.value);
      case 'int':
        return String(a.value);
      case 'string':
        return printText(a.value);
      case 'tensor':
        return this.#tensor(a.value);
      case 'graph':
        return this.graph(a.value, indent);
      case 'sparse_tensor':
        return `${printType({ kind: 'sparse', dtype: a.value.values.dtype, shape: a.value.dims })} ${this.#sparse(a.value)}`;
      case 'type_proto':
        return printType(a.value);
      case 'floats':
        return `[${a.value.map(floatLiteral).join(', ')}]`;
      case 'ints':
        return `[${a.value.join(', ')}]`;
      case 'strings':
        return `[${a.value.map(printText).join(', ')}]`;
      case 'tensors':
        return `[${a.value.map((t) => this.#tensor(t)).join(', ')}]`;
      case 'graphs':
        return `[${a.value.map((g) => this.graph(g, indent)).join(', ')}]`;
      case 'sparse_tensors':
        return `[${a.value.map((s) => this.#attributeValue({ type: 'sparse_tensor', value: s }, indent)).join(', ')}]`;
      case 'type_protos':
        return `[${a.value.map(printType).join(', ')}]`;
      case 'ref':
        return `@${printName(a.ref)}`;
    }
  }

  #tensor(tensor: Tensor): string {
    const name = tensor.extra?.name ? ` ${printName(tensor.extra.name)}` : '';
    return `${printType({ kind: 'tensor', dtype: tensor.dtype, shape: tensor.dims })}${name} ${this.#elements(tensor)}`;
  }

  #elements(tensor: Tensor): string {
    const words = elementTexts(tensor, this.#max);
    const total = tensor.size * (DTYPES[tensor.dtype].kind === 'complex' ? 2 : 1);
    return `{${words.join(', ')}${words.length < total ? ', ...' : ''}}`;
  }

  #sparse(sparse: SparseTensor): string {
    return `{${this.#tensor(sparse.values)}, ${this.#tensor(sparse.indices)}}`;
  }
}

/** True for an input with a default whose declared type is exactly the default's: then both are written in one place. */
function hasTypeOfDefault(value: Value): boolean {
  const { type, initializer } = value;
  if (!initializer || !value.isGraphInput || type?.kind !== 'tensor' || type.dtype !== initializer.dtype) return false;
  return type.shape?.length === initializer.rank && type.shape.every((d, i) => d === initializer.dims[i]);
}

/** A type as ONNX text has it: `float` is a scalar, `float[]` a tensor of unknown rank. */
export function printType(type: ValueType): string {
  switch (type.kind) {
    case 'tensor':
      return `${type.dtype}${printShape(type.shape)}`;
    case 'sparse':
      return `sparse_tensor(${type.dtype}${printShape(type.shape)})`;
    case 'sequence':
      return `seq(${type.element ? printType(type.element) : '?'})`;
    case 'optional':
      return `optional(${type.element ? printType(type.element) : '?'})`;
    case 'map':
      return `map(${type.key}, ${type.value ? printType(type.value) : '?'})`;
    case 'opaque':
      return `opaque(${quote(type.domain)}, ${quote(type.name)})`;
  }
}

function printShape(shape: Shape | null): string {
  if (shape === null) return '[]';
  return shape.length === 0 ? '' : `[${shape.map(printDim).join(',')}]`;
}

function printDim(dim: Dim): string {
  if (dim === null) return '?';
  return typeof dim === 'number' ? String(dim) : printName(dim);
}

function printOpsets(opsets: ReadonlyMap<string, number>): string {
  return `[${[...opsets].map(([domain, version]) => `${quote(domain)}: ${version}`).join(', ')}]`;
}

function printName(name: string): string {
  return isIdentifier(name) ? name : quote(name);
}

function isQualified(op: string): boolean {
  return op.split('.').every(isIdentifier);
}

function printText(text: Text): string {
  if (typeof text === 'string') return quote(text);
  return `bytes("${Array.from(text, (b) => b.toString(16).padStart(2, '0')).join('')}")`;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
