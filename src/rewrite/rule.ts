// A rewrite rule: where it applies (`match`), under which condition (`when`, which says why not) and what it puts there (`replace`).
import type { Builder } from '../ir/builder.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import type { ValueType } from '../ir/type.js';

/** Why a rule that matched did not fire: shown to the user as a nearest miss. */
export interface Miss {
  readonly miss: string;
}

export function miss(reason: string): Miss {
  return { miss: reason };
}

/** What a rule can ask about its surroundings. */
export interface RuleContext {
  readonly model: Model;
  readonly graph: Graph;
  /** Version of the default opset. */
  readonly opset: number;
  /** Builder that inserts before the matched (last) node. */
  readonly b: Builder;
  /** Inferred type of a value. */
  type(value: Value | null): ValueType | undefined;
}

/** The nodes and values a pattern found, by the names the pattern gave them. */
export interface Match {
  /** The node at which matching started (the last one of the pattern). */
  readonly root: Node;
  readonly nodes: Readonly<Record<string, Node>>;
  readonly values: Readonly<Record<string, Value>>;
}

export interface Rule {
  readonly name: string;
  /** Operator types of possible roots, so that the driver asks only there. `'*'` asks at every node. */
  readonly roots: readonly string[] | '*';
  /** Null where the shape of the graph is not the pattern's (not reported). */
  match(root: Node, ctx: RuleContext): Match | null;
  /** True, or the reason why the match cannot be used. */
  when(match: Match, ctx: RuleContext): true | Miss;
  /**
   * New values for the root's outputs, in order (null: output unread). The driver redirects readers and removes what died.
   * A rule that edits in place answers 'edited'.
   */
  replace(match: Match, ctx: RuleContext): readonly (Value | null)[] | 'edited';
}

export function rule(definition: Rule): Rule {
  return definition;
}
