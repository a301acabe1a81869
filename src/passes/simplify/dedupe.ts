// One of each: constants with the same content, and nodes that compute the same from the same.
// Content is read only where type, dimensions and a few sampled bytes agree, so large weights stay on disk.
import type { Attribute } from '../../ir/attribute.js';
import type { Graph, Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import type { Tensor } from '../../ir/tensor.js';
import type { PartialValue } from '../../ops/op.js';
import { opRecord } from '../../ops/registry.js';
import { canReplace, isQuantizer } from './facts.js';

const SAMPLE_BYTES = 32;

/** Merges constants of equal content. Returns how many are gone. Values in `seen` were compared before and are not read again. */
export async function dedupeInitializers(model: Model): Promise<number> {
  return dedupeIn(model.graph, []);
}

type Groups = Map<string, Value[]>;

async function dedupeIn(graph: Graph, outer: readonly Groups[]): Promise<number> {
  let merged = 0;
  const own: Groups = new Map();
  const bySize = new Map<string, number>();
  for (const groups of outer) for (const key of groups.keys()) bySize.set(key, 2);
  const candidates = graph.initializers.filter((v) => v.isConstant && !v.isGraphOutput && v.initializer!.dtype !== 'string');
  for (const value of candidates) bySize.set(sizeKey(value.initializer!), (bySize.get(sizeKey(value.initializer!)) ?? 0) + 1);
  for (const value of candidates) {
    const key = sizeKey(value.initializer!);
    let twin: Value | undefined;
    if (bySize.get(key)! > 1) {
      for (const groups of [own, ...outer]) {
        for (const other of groups.get(key) ?? []) {
          if (await sameContent(value.initializer!, other.initializer!)) {
            twin = other;
            break;
          }
        }
        if (twin) break;
      }
    }
    if (twin) {
      graph.replaceValue(value, twin);
      merged++;
    } else own.set(key, [...(own.get(key) ?? []), value]);
  }
  if (merged > 0) graph.pruneValues();
  for (const node of graph.nodes) for (const sub of node.subgraphs()) merged += await dedupeIn(sub, [own, ...outer]);
  return merged;
}

/** Constants with the same key may be equal; small ones carry their content in it. */
const keys = new WeakMap<Tensor, string>();

function sizeKey(tensor: Tensor): string {
  let key = keys.get(tensor);
  if (key === undefined) {
    key = `${tensor.dtype}[${tensor.dims.join(',')}]`;
    const length = tensor.source.byteLength;
    if (tensor.source.synchronous || tensor.source.resident) {
      const at = length <= 3 * SAMPLE_BYTES ? [0] : [0, Math.floor(length / 2), length - SAMPLE_BYTES];
      for (const start of at) {
        const part = tensor.source.slice(start, length <= 3 * SAMPLE_BYTES ? length : start + SAMPLE_BYTES).bytes();
        key += `:${String.fromCharCode(...part)}`;
      }
    }
    keys.set(tensor, key);
  }
  return key;
}

async function sameContent(a: Tensor, b: Tensor): Promise<boolean> {
  if (a.source === b.source) return true;
  const length = a.source.byteLength;
  if (length <= 3 * SAMPLE_BYTES && (a.source.synchronous || a.source.resident)) return true;
  if (a.source.file && b.source.file && a.source.file.path === b.source.file.path && a.source.file.offset === b.source.file.offset)
    return true;
  const [x, y] = [await a.source.load(), await b.source.load()];
  for (let i = 0; i < length; i++) if (x[i] !== y[i]) return false;
  return true;
}

/** Merges nodes of the same operator, attributes and inputs. Returns how many are gone. */
export function mergeCommonSubexpressions(model: Model): number {
  return mergeIn(model.graph, [], new Map());
}

function mergeIn(graph: Graph, outer: readonly Map<string, Node>[], ids: Map<Value, number>): number {
  let merged = 0;
  const own = new Map<string, Node>();
  for (const node of graph.nodes) {
    const key = expressionKey(node, ids);
    const twin = key === undefined ? undefined : (own.get(key) ?? outer.map((m) => m.get(key)).find((n) => n !== undefined));
    if (twin && node.outputs.every((o, i) => !o || o.readerCount === 0 || (twin.outputs[i] && canReplace(o, twin.outputs[i])))) {
      node.outputs.forEach((o, i) => {
        if (o && o.readerCount > 0) graph.replaceValue(o, twin.outputs[i]!);
      });
      graph.removeNode(node);
      merged++;
      continue;
    }
    if (key !== undefined && !twin) own.set(key, node);
    for (const sub of node.subgraphs()) merged += mergeIn(sub, [own, ...outer], ids);
  }
  return merged;
}

function expressionKey(node: Node, ids: Map<Value, number>): string | undefined {
  if (isQuantizer(node)) return undefined;
  const record = opRecord(node.domain, node.opType);
  if (record === undefined || record.nondeterministic === true) return undefined;
  const parts = [node.op, String(node.outputs.length)];
  for (const [name, attribute] of [...node.attributes].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const text = attributeKey(attribute);
    if (text === undefined) return undefined;
    parts.push(`${name}=${text}`);
  }
  for (const input of node.inputs) {
    if (input === null) {
      parts.push('-');
      continue;
    }
    let id = ids.get(input);
    if (id === undefined) {
      id = ids.size;
      ids.set(input, id);
    }
    parts.push(String(id));
  }
  return parts.join('|');
}

/** Text that is equal exactly for equal attributes; undefined for those not compared. */
function attributeKey(attribute: Attribute): string | undefined {
  switch (attribute.type) {
    case 'float':
    case 'int':
      return `${attribute.type}:${attribute.value}`;
    case 'string':
      return `s:${typeof attribute.value === 'string' ? JSON.stringify(attribute.value) : attribute.value.join(',')}`;
    case 'floats':
    case 'ints':
      return `${attribute.type}:${attribute.value.join(',')}`;
    case 'strings':
      return `ss:${JSON.stringify(attribute.value.map((t) => (typeof t === 'string' ? t : [...t])))}`;
    case 'tensor':
      return attribute.value.byteLength <= 64 && attribute.value.dtype !== 'string'
        ? `t:${attribute.value.dtype}[${attribute.value.dims.join(',')}]${attribute.value.bytes().join(',')}`
        : undefined;
    default:
      return undefined;
  }
}

/**
 * Merges values of shape arithmetic with the same known content, symbols included: `[batch, seq]` computed twice from different tensors.
 * The earlier one stays. Returns how many were merged.
 */
export function mergeEqualShapes(model: Model, values: ReadonlyMap<Value, PartialValue>): number {
  return mergeShapesIn(model.graph, [], values);
}

function mergeShapesIn(graph: Graph, outer: readonly Map<string, Value>[], values: ReadonlyMap<Value, PartialValue>): number {
  let merged = 0;
  const own = new Map<string, Value>();
  for (const node of graph.nodes) {
    for (const sub of node.subgraphs()) merged += mergeShapesIn(sub, [own, ...outer], values);
    for (const output of node.outputs) {
      const known = output && values.get(output);
      if (!known || known.items.length === 0 || known.items.some((x) => x === null) || output.readerCount === 0) continue;
      const key = `${known.dtype}[${known.dims.join(',')}]${known.items.map((x) => (typeof x === 'number' ? `#${x}` : x)).join(';')}`;
      const twin = own.get(key) ?? outer.map((m) => m.get(key)).find((v) => v !== undefined);
      if (twin === undefined) own.set(key, output);
      else if (canReplace(output, twin)) {
        graph.replaceValue(output, twin);
        merged++;
      }
    }
  }
  return merged;
}
