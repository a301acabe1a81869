// What one step of an upgrade is: an operator, the opset whose new form it must take, and how. Helpers that the steps share.
import { Builder } from '../../../ir/builder.js';
import type { DType } from '../../../ir/dtype.js';
import type { Node, Value } from '../../../ir/graph.js';
import { tensorTypeOf } from '../../../ir/model.js';
import type { Shape } from '../../../ir/type.js';

/** Converts a node from the form before `version` to that of `version`, in place; answers a reason where that is not exactly possible. */
export type Convert = (node: Node, b: Builder) => string | undefined;

/** By operator, then by the opset that changed it. */
export type Converters = Readonly<Record<string, Readonly<Record<number, Convert>>>>;

/** Moves an integer-list attribute to an int64 input. Nothing happens where the attribute is absent. */
export function listToInput(attribute: string, input: number): Convert {
  return (node, b) => {
    const held = node.attribute(attribute);
    if (held === undefined) return undefined;
    if (held.type === 'ref') return `its ${attribute} refers to an attribute of the function around it`;
    const values = node.ints(attribute)!;
    node.setAttribute(attribute, undefined);
    node.setInput(input, b.ints(`${nameOf(node)}_${attribute}`, values));
    return undefined;
  };
}

/** Drops attributes that lost their meaning. */
export function drop(...attributes: readonly string[]): Convert {
  return (node) => {
    for (const name of attributes) node.setAttribute(name, undefined);
    return undefined;
  };
}

/** Runs steps one after the other until one gives a reason. */
export function all(...steps: readonly Convert[]): Convert {
  return (node, b) => {
    for (const step of steps) {
      const reason = step(node, b);
      if (reason !== undefined) return reason;
    }
    return undefined;
  };
}

export function nameOf(node: Node): string {
  return node.outputs.find((o) => o)?.name ?? node.opType;
}

export function shapeOfInput(node: Node, index: number): Shape | null {
  return tensorTypeOf(node.input(index))?.shape ?? null;
}

export function dtypeOfInput(node: Node, index: number): DType | undefined {
  return tensorTypeOf(node.input(index))?.dtype;
}

/** A builder that inserts before a node. */
export function before(node: Node): Builder {
  return new Builder(node.graph, { before: node });
}

/** A builder that inserts after a node. */
export function after(node: Node): Builder {
  return new Builder(node.graph, { before: node._next });
}

/** Replaces a node by another operator with the same inputs, attributes and outputs: operator types change in place. */
export function renameOp(opType: string): Convert {
  return (node) => {
    node.opType = opType;
    return undefined;
  };
}

/** Puts `wrap` behind output 0: readers get its result, under the old name, and the node's own output a new one. */
export function behind(node: Node, wrap: (output: Value, b: Builder) => Value): void {
  const output = node.output(0);
  const inner = node.graph.addValue(node.graph.freshName(`${output.name}_inner`), output.type);
  const result = wrap(inner, after(node));
  result.type = output.type;
  const name = output.name;
  node.graph.replaceValue(output, result);
  node._setOutput(0, null);
  node._setOutput(0, inner);
  node.graph._forget(output);
  if (result.name !== name && node.graph.ownValue(name) === undefined) node.graph.rename(result, name);
}
