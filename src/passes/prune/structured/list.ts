// What could be pruned, without pruning: groups, what ties them, what stays and why, and residual blocks. Plain JSON.
import type { Model } from '../../../ir/model.js';
import type { BoundPass } from '../../../pass/define.js';
import { type PassEnvironment, runPasses } from '../../../pass/manager.js';
import { residualBlocks } from './blocks.js';
import { prepareForPruning } from './index.js';
import type { StructuredOptions } from './options.js';
import { selectGroups } from './plan.js';

export interface GroupListing {
  readonly groups: readonly {
    readonly name: string;
    /** Units, and elements of all constants that one of them takes. */
    readonly size: number;
    readonly paramsPerUnit: number;
    readonly producers: readonly string[];
    readonly consumers: readonly string[];
    readonly ties: readonly string[];
    /** False where the options leave the group out. */
    readonly selected: boolean;
    readonly constants: readonly { readonly name: string; readonly axis: number; readonly perUnit: number }[];
  }[];
  readonly frozen: readonly { readonly layer: string; readonly channels: number; readonly of: number; readonly reason: string }[];
  readonly blocks: readonly { readonly name: string; readonly nodes: number; readonly params: number }[];
}

/** Lists the groups of a copy of the model, prepared as the pass would. */
export async function listGroups(source: Model, options: StructuredOptions, env: PassEnvironment): Promise<GroupListing> {
  let listing: GroupListing = { groups: [], frozen: [], blocks: [] };
  const pass: BoundPass = {
    name: 'list-groups',
    summary: 'list what could be pruned',
    options: {},
    needs: {},
    async run(model, ctx) {
      await prepareForPruning(model, ctx);
      listing = describeGroups(model, options);
      return false;
    },
  };
  await runPasses(source, [pass], env);
  return listing;
}

/** The same of a model that is prepared already. */
function describeGroups(model: Model, options: StructuredOptions): GroupListing {
  const { all, groups } = selectGroups(model, options);
  return {
    groups: all.groups.map((g) => {
      const constants = g.members.filter((m) => m.value.isConstant);
      return {
        name: g.name,
        size: g.size,
        paramsPerUnit: constants.reduce((n, m) => {
          const { dims } = m.value.initializer!;
          return n + (m.value.initializer!.size / dims[m.axis]!) * m.perUnit;
        }, 0),
        producers: g.producers,
        consumers: g.consumers,
        ties: g.ties,
        selected: groups.includes(g),
        constants: constants.map((m) => ({ name: m.value.name, axis: m.axis, perUnit: m.perUnit })),
      };
    }),
    frozen: all.frozen.map(({ layer, channels, of, reason }) => ({ layer, channels, of, reason })),
    blocks: residualBlocks(model).map(({ name, nodes, params }) => ({ name, nodes, params })),
  };
}
