// `pare compare A B`: what the second model loses and gains against the first.
import type { Command } from 'commander';
import { compareLayers, type LayerComparison } from '../../analysis/layers.js';
import { inferShapes } from '../../analysis/shapes.js';
import { defaultMetric } from '../../data/metrics.js';
import { writeFileAtomic } from '../../node/files.js';
import { openInput } from '../../node/input.js';
import type { Explanation } from '../../pass/record.js';
import { compareTwo } from '../../recipe/compare.js';
import { explainLayers } from '../../recipe/explain.js';
import { fusionOf } from '../../recipe/fusion.js';
import { renderComparison } from '../render/comparison.js';
import { openCliSession, openData, openMetric, openValidation } from '../session.js';
import { addCommonFlags, addDataFlags, type CommonFlags, type DataFlags } from '../shared-options.js';

type Flags = CommonFlags & DataFlags & { readonly perLayer?: boolean };

export function addCompareCommand(program: Command): void {
  const command = program.command('compare <a> <b>').description('quality, agreement, speed and output differences of two models');
  addDataFlags(addCommonFlags(command));
  command.option('--per-layer', 'compare the values inside, layer by layer');
  command.addHelpText('after', '\nExample:\n  pare compare model.onnx model.int8.onnx --data test.npz --metric top1 --per-layer');
  command.action(async (pathA: string, pathB: string, flags: Flags) => {
    const cli = openCliSession(flags);
    try {
      const a = await openInput(pathA);
      const b = await openInput(pathB);
      const data = await openValidation(cli, a, flags, flags.data === undefined ? undefined : await openData(cli, flags.data, a, flags));
      const metric = (await openMetric(flags.metric, data)) ?? defaultMetric(a.model, data);
      const result = await compareTwo({
        engine: cli.engine,
        a: { ...a, open: async () => a.model },
        b: { ...b, open: async () => b.model },
        data,
        metric,
        limit: flags.limit,
        batch: flags.batch,
        shapes: flags.shape,
        seed: flags.seed,
        session: cli.session,
        memoryBytes: cli.memoryBytes,
        onProgress: (p) => cli.progress.update(p),
      });
      const fusion =
        result.mode === 'together'
          ? await fusionOf(cli.engine, b.model, b.source, {
              batch: flags.batch,
              shapes: flags.shape,
              seed: flags.seed,
              session: cli.session,
            })
          : undefined;
      let layers: LayerComparison[] | undefined;
      let explanation: Explanation | undefined;
      if (flags.perLayer) {
        inferShapes(a.model, { inputShapes: flags.shape });
        layers = await compareLayers(cli.engine, a.model, b.model, data, {
          session: cli.session,
          onProgress: (fraction) => cli.progress.update({ fraction, label: 'comparing layers' }),
        });
        explanation = await explainLayers(a.model, b.model, {
          engine: cli.engine,
          data,
          session: cli.session,
          shapes: flags.shape,
          onProgress: (fraction) => cli.progress.update({ fraction, label: 'looking for causes of error' }),
        });
      }
      cli.progress.stop();
      const full = { ...result, ...(fusion ? { fusion } : {}), ...(layers ? { layers } : {}), ...(explanation ? { explanation } : {}) };
      cli.say(renderComparison(full));
      if (flags.report !== undefined) {
        const { renderComparisonReport } = await import('../../report/comparison.js');
        await writeFileAtomic(flags.report, renderComparisonReport(full));
        cli.say(`report: ${flags.report}`);
      }
      cli.json(full);
    } finally {
      cli.progress.stop();
    }
  });
}
