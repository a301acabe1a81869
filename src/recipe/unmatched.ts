// Names the user gave that fit nothing: a misspelt `--exclude` would otherwise quantize the very layer it was meant to protect.
import type { Model } from '../ir/model.js';
import { walkNodes } from '../ir/walk.js';
import type { BoundPass, Warning } from '../pass/define.js';
import { selectorOf } from '../quant/selection.js';

/** A warning for each pattern of `exclude` and each operator of `opTypes` that no node of the models (before, after) has. */
export function unmatchedSelections(passes: readonly BoundPass[], models: readonly Model[]): Warning[] {
  const nodes = models.flatMap((m) => [...walkNodes(m.graph)]);
  const types = new Set(nodes.map((n) => n.opType));
  const warnings: Warning[] = [];
  for (const { options } of passes) {
    for (const pattern of listOf(options.exclude)) {
      const select = selectorOf({ exclude: [pattern], opTypes: [] });
      if (!nodes.some((n) => select(n) !== undefined)) {
        warnings.push({
          message: `--exclude ${pattern} fits no node`,
          fix: 'see the names with `pare profile --top 1000`; * stands for any characters',
        });
      }
    }
    for (const type of listOf(options.opTypes)) {
      if (!types.has(type))
        warnings.push({ message: `--op-types ${type}: the model has no such operator`, fix: `it has ${[...types].sort().join(', ')}` });
    }
  }
  return warnings;
}

function listOf(option: unknown): readonly string[] {
  return Array.isArray(option) ? option.filter((x): x is string => typeof x === 'string') : [];
}
