// Rules about one node and its neighbours that are easier said as a function than as a pattern: `plan` looks, and answers what to do.
import type { Node, Value } from '../ir/graph.js';
import type { Match, Miss, Rule, RuleContext } from './rule.js';

/** What to put in place of the root's outputs (see Rule.replace), computed when the rule fires. */
export type Plan = () => readonly (Value | null)[] | 'edited';

export interface NodeRule {
  readonly name: string;
  readonly roots: readonly string[] | '*';
  /** Domains of the roots; the default domain alone where not set. */
  readonly domains?: readonly string[];
  /** Null where the rule does not concern this node, a miss where it nearly does, else the plan. */
  plan(node: Node, ctx: RuleContext): Plan | Miss | null;
}

interface PlannedMatch extends Match {
  readonly plan: Plan | Miss;
}

export function nodeRule(definition: NodeRule): Rule {
  const domains = definition.domains ?? [''];
  return {
    name: definition.name,
    roots: definition.roots,
    match(root, ctx): PlannedMatch | null {
      if (!domains.includes(root.domain)) return null;
      const plan = definition.plan(root, ctx);
      return plan === null ? null : { root, nodes: {}, values: {}, plan };
    },
    when(match): true | Miss {
      const { plan } = match as PlannedMatch;
      return typeof plan === 'function' ? true : plan;
    },
    replace(match) {
      const { plan } = match as PlannedMatch;
      return typeof plan === 'function' ? plan() : [];
    },
  };
}
