// The attributes of a node, read as plain numbers and strings. Asking for an attribute as another type than it has is an error that names both.
import { typeError } from '../errors.js';
import { type Attribute, type AttributeInput, attributeOf, type Text } from './attribute.js';
import type { Graph } from './graph.js';
import type { Tensor } from './tensor.js';

export abstract class AttributeHolder {
  abstract readonly opType: string;
  /** How messages name the holder. */
  abstract readonly label: string;
  readonly #attributes = new Map<string, Attribute>();

  get attributes(): ReadonlyMap<string, Attribute> {
    return this.#attributes;
  }

  setAttribute(name: string, value: AttributeInput | undefined): void {
    if (value === undefined) this.#attributes.delete(name);
    else this.#attributes.set(name, attributeOf(value));
  }

  attribute(name: string): Attribute | undefined {
    return this.#attributes.get(name);
  }

  hasAttribute(name: string): boolean {
    return this.#attributes.has(name);
  }

  #typed<T extends Attribute['type']>(name: string, type: T): Extract<Attribute, { type: T }> | undefined {
    const a = this.#attributes.get(name);
    if (a === undefined) return undefined;
    if (a.type !== type) {
      throw typeError(`${this.opType} attribute "${name}": expected ${type}, got ${a.type}`, { place: { node: this.label } });
    }
    return a as Extract<Attribute, { type: T }>;
  }

  /** Integer attribute as a number, clamped to the safe range (ONNX writes 2^63-1 for "to the end"). */
  int(name: string, fallback: number): number;
  int(name: string): number | undefined;
  int(name: string, fallback?: number): number | undefined {
    const a = this.#typed(name, 'int');
    return a ? clampToSafe(a.value) : fallback;
  }

  ints(name: string, fallback: readonly number[]): number[];
  ints(name: string): number[] | undefined;
  ints(name: string, fallback?: readonly number[]): number[] | undefined {
    const a = this.#typed(name, 'ints');
    return a ? a.value.map(clampToSafe) : fallback?.slice();
  }

  float(name: string, fallback: number): number;
  float(name: string): number | undefined;
  float(name: string, fallback?: number): number | undefined {
    return this.#typed(name, 'float')?.value ?? fallback;
  }

  floats(name: string): number[] | undefined {
    return this.#typed(name, 'floats')?.value.slice();
  }

  string(name: string, fallback: string): string;
  string(name: string): string | undefined;
  string(name: string, fallback?: string): string | undefined {
    const a = this.#typed(name, 'string');
    return a ? textToString(a.value) : fallback;
  }

  strings(name: string): string[] | undefined {
    return this.#typed(name, 'strings')?.value.map(textToString);
  }

  tensor(name: string): Tensor | undefined {
    return this.#typed(name, 'tensor')?.value;
  }

  subgraph(name: string): Graph | undefined {
    return this.#typed(name, 'graph')?.value;
  }

  /** Every subgraph in the attributes, in attribute order. */
  subgraphs(): Graph[] {
    const found: Graph[] = [];
    for (const a of this.#attributes.values()) {
      if (a.type === 'graph') found.push(a.value);
      else if (a.type === 'graphs') found.push(...a.value);
    }
    return found;
  }
}

function clampToSafe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) return Number.MAX_SAFE_INTEGER;
  if (value < BigInt(Number.MIN_SAFE_INTEGER)) return Number.MIN_SAFE_INTEGER;
  return Number(value);
}

function textToString(text: Text): string {
  return typeof text === 'string' ? text : new TextDecoder().decode(text);
}
