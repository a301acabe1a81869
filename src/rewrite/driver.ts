// Applies rules until none fires. A worklist holds the nodes whose surroundings changed, so a rewrite costs what it touches and
// not a walk of the whole graph; a last walk over everything confirms the fixpoint (deep patterns can start to match far away).

import { bugError } from '../errors.js';
import { Builder } from '../ir/builder.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import type { ValueType } from '../ir/type.js';
import { walkGraphs } from '../ir/walk.js';
import type { Miss, Rule, RuleContext } from './rule.js';

/** What the layer above injects. */
export interface RewriteHooks {
  /** Sets the types of a new node's outputs from those of its inputs, where they can be inferred. */
  readonly infer?: (node: Node) => void;
  /** Throws where the caller has aborted. */
  readonly checkAborted?: () => void;
}

/** How often a rule fired, and why it did not elsewhere. */
export interface RuleOutcome {
  readonly rule: string;
  readonly hits: number;
  readonly misses: readonly { readonly node: string; readonly reason: string }[];
}

/** Misses kept per rule: enough to explain, few enough to print. */
const MAX_MISSES = 50;
/** Rewrites per node of the graph after which rules are taken to undo one another. */
const MAX_HITS_PER_NODE = 20;

class Tally {
  hits = 0;
  readonly misses = new Map<Node, string>();
}

/** Applies `rules` to the main graph and every graph nested in it (not to local functions), to a fixpoint. */
export function applyRules(model: Model, rules: readonly Rule[], hooks: RewriteHooks = {}): RuleOutcome[] {
  const tallies = new Map(rules.map((r) => [r, new Tally()]));
  const graphs = [...walkGraphs(model.graph)];
  for (const graph of graphs) new GraphRewriter(model, graph, rules, tallies, hooks).run();
  return rules.map((r) => {
    const tally = tallies.get(r)!;
    const misses = [...tally.misses].filter(([node]) => !isRemoved(node)).slice(0, MAX_MISSES);
    return { rule: r.name, hits: tally.hits, misses: misses.map(([node, reason]) => ({ node: node.label, reason })) };
  });
}

/** Adds up the outcomes of several applications of the same rules; the misses are those of the last. */
export function mergeOutcomes(earlier: readonly RuleOutcome[], later: readonly RuleOutcome[]): RuleOutcome[] {
  const merged = new Map(earlier.map((o) => [o.rule, o]));
  for (const o of later) merged.set(o.rule, { ...o, hits: o.hits + (merged.get(o.rule)?.hits ?? 0) });
  return [...merged.values()];
}

/** True once a node was taken out of its graph. */
function isRemoved(node: Node): boolean {
  return node.inputs.length === 0 && node.outputs.every((o) => o === null);
}

class GraphRewriter {
  readonly #graph: Graph;
  readonly #byOp = new Map<string, Rule[]>();
  readonly #everywhere: Rule[];
  readonly #order: readonly Rule[];
  readonly #tallies: ReadonlyMap<Rule, Tally>;
  readonly #hooks: RewriteHooks;
  readonly #context: RuleContext;
  readonly #queue: Node[] = [];
  readonly #queued = new Set<Node>();
  #budget: number;

  constructor(model: Model, graph: Graph, rules: readonly Rule[], tallies: ReadonlyMap<Rule, Tally>, hooks: RewriteHooks) {
    this.#graph = graph;
    this.#order = rules;
    this.#everywhere = rules.filter((r) => r.roots === '*');
    this.#tallies = tallies;
    this.#hooks = hooks;
    this.#budget = 1000 + MAX_HITS_PER_NODE * graph.nodes.length;
    this.#context = {
      model,
      graph,
      opset: model.opset,
      b: new Builder(graph),
      type: (value: Value | null): ValueType | undefined => value?.type,
    };
  }

  run(): void {
    for (let before = -1; before !== this.#budget; ) {
      before = this.#budget;
      for (const node of this.#graph.nodes) this.#enqueue(node);
      for (let at = 0; at < this.#queue.length; at++) {
        const node = this.#queue[at]!;
        this.#queued.delete(node);
        if (!isRemoved(node)) this.#visit(node);
      }
      this.#queue.length = 0;
    }
  }

  #enqueue(node: Node | null): void {
    if (node === null || node.graph !== this.#graph || this.#queued.has(node)) return;
    this.#queued.add(node);
    this.#queue.push(node);
  }

  #rulesFor(node: Node): readonly Rule[] {
    let rules = this.#byOp.get(node.opType);
    if (rules === undefined) {
      rules = this.#order.filter((r) => this.#everywhere.includes(r) || r.roots.includes(node.opType));
      this.#byOp.set(node.opType, rules);
    }
    return rules;
  }

  #visit(node: Node): void {
    this.#hooks.checkAborted?.();
    for (const rule of this.#rulesFor(node)) {
      this.#context.b.before = node;
      const match = rule.match(node, this.#context);
      if (match === null) continue;
      const verdict = rule.when(match, this.#context);
      const tally = this.#tallies.get(rule)!;
      if (verdict !== true) {
        tally.misses.set(node, (verdict as Miss).miss);
        continue;
      }
      tally.misses.delete(node);
      tally.hits++;
      if (--this.#budget < 0)
        throw bugError(`rewriting of graph "${this.#graph.name}" does not end: rule ${rule.name} fires at ${node.label} again and again`);
      this.#fire(rule, node, match);
      return;
    }
  }

  #fire(rule: Rule, root: Node, match: Parameters<Rule['replace']>[0]): void {
    const touched = new Set<Node>();
    for (const node of [root, ...Object.values(match.nodes)]) {
      for (const input of node.inputs) if (input?.producer) touched.add(input.producer);
      for (const output of node.outputs) for (const use of output?.uses ?? []) touched.add(use.node);
    }
    const previous = root._prev;
    const outputs = rule.replace(match, this.#context);
    if (outputs !== 'edited') {
      const added = this.#inferNew(previous, root);
      const renames: [Value, string][] = [];
      root.outputs.forEach((old, i) => {
        const replacement = outputs[i];
        if (!old || old.readerCount === 0) return;
        if (!replacement) throw bugError(`rule ${rule.name} gives nothing for output ${old.name} of ${root.label}, which is read`);
        if (replacement === old) return;
        if (replacement.producer !== null && replacement.type === undefined) replacement.type = old.type;
        const name = old.name;
        if (replacement.producer && added.has(replacement.producer)) {
          if (replacement.producer.name === '') replacement.producer.name = root.name;
          renames.push([replacement, name]);
        }
        this.#graph.replaceValue(old, replacement);
        for (const use of replacement.uses) touched.add(use.node);
        if (replacement.producer) touched.add(replacement.producer);
      });
      removeDead(root, touched);
      // New values take over the names of those they stand for, so that messages and per-layer tables keep their words.
      for (const [value, name] of renames)
        if (value.graph === this.#graph && this.#graph.ownValue(name) === undefined) this.#graph.rename(value, name);
    } else {
      this.#inferNew(previous, root);
      touched.add(root);
      for (const node of [...touched]) if (!isRemoved(node) && node.graph === this.#graph && isUnread(node)) removeDead(node, touched);
    }
    for (const node of touched) if (!isRemoved(node)) this.#enqueue(node);
  }

  /** Infers and queues the nodes that the rule put between `previous` and `root`. */
  #inferNew(previous: Node | null, root: Node): ReadonlySet<Node> {
    const added: Node[] = [];
    for (let node = root._prev; node !== null && node !== previous; node = node._prev) added.push(node);
    for (const node of added.reverse()) {
      if (node.outputs.some((o) => o && o.type === undefined)) this.#hooks.infer?.(node);
      this.#enqueue(node);
    }
    return new Set(added);
  }
}

function isUnread(node: Node): boolean {
  return node.outputs.every((o) => o === null || o.readerCount === 0);
}

/** Removes `node` if nothing reads it, and then what only it read. Producers that stay are added to `touched`. */
function removeDead(node: Node, touched?: Set<Node>): void {
  const stack = [node];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (isRemoved(next) || !isUnread(next)) {
      touched?.add(next);
      continue;
    }
    const inputs = next.inputs.filter((v) => v !== null);
    next.graph.removeNode(next);
    for (const input of inputs) {
      if (input.producer) stack.push(input.producer);
    }
  }
}
