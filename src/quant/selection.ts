// Which nodes the user wants quantized: name patterns to leave out, operator types to keep to.
import { usageError } from '../errors.js';
import type { Node } from '../ir/graph.js';

export interface Selection {
  /** Names of nodes to leave out: `*` stands for any run of characters, `/.../` is a regular expression; a plain name must match whole. */
  readonly exclude: readonly string[];
  /** Only these operator types; all where empty. */
  readonly opTypes: readonly string[];
}

/** Answers undefined for a node that may be quantized, or the reason why the user's selection leaves it out. */
export type Selector = (node: Node) => string | undefined;

export function selectorOf(selection: Selection): Selector {
  const patterns = selection.exclude.map((text) => ({ text, test: patternOf(text) }));
  const types = new Set(selection.opTypes);
  return (node) => {
    if (types.size > 0 && !types.has(node.opType)) return `its operator is not among those asked for (${selection.opTypes.join(', ')})`;
    const hit = patterns.find((p) => p.test.test(node.name) || p.test.test(node.label));
    return hit && `excluded by "${hit.text}"`;
  };
}

/** A name pattern of the user as an expression: `*`, `/.../` or a whole name. */
export function patternOf(text: string): RegExp {
  if (text.length > 2 && text.startsWith('/') && text.endsWith('/')) {
    try {
      return new RegExp(text.slice(1, -1));
    } catch (cause) {
      // Names such as "/encoder/layer/" start and end with a slash too: those that are no expression are taken as names.
      if (!(cause instanceof SyntaxError)) throw cause;
    }
  }
  if (text === '') throw usageError('expected a name pattern to exclude, got an empty one');
  const escaped = text.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*');
  return new RegExp(`^${escaped}$`);
}
