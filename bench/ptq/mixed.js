// Bars of mixed precision: layers kept float and evaluations against greedy one-at-a-time searches at the same targets. Two yardsticks:
// `ranked` measures each layer kept alone on the whole data, then adds layers in that order, one evaluation an addition (what fallback tuners do);
// `forward` measures every remaining layer at every step and adds the best. Both know nothing but the metric. The evaluations of Pare's search count
// its sensitivity runs too: runs of single samples divided by the samples of one evaluation.
import { METRICS, mixedPrecision, quantizeStatic, runPasses, simplify, Trials } from '../../dist/index.js';
import { nodeEngine, openDataset, readModel } from '../../dist/node/index.js';
import { atMost, figure, wanted } from '../lib/bars.js';
import { shared } from '../lib/pare.js';
import { mobilenetCrops } from './data.js';

async function openCase(path, data, validation, options, metric, limit) {
  const model = await readModel(shared(path));
  const calibration = await openDataset(data, model, options);
  const test = await openDataset(validation, model, options);
  const trials = await Trials.open({
    engine: await nodeEngine(),
    model,
    data: calibration,
    validation: test,
    metric: METRICS[metric],
    limit,
    batch: 16,
  });
  return { model, trials };
}

const CASES = {
  // The targets lie where several layers have to be kept: where two do and none alone does, no search finds fewer.
  mobilenet: {
    targets: [0.01, 0.005],
    open: async () =>
      openCase(
        'mobilenetv1-025-imagenet/mobilenet_v1_0.25_128.onnx',
        await mobilenetCrops.calibration(100),
        await mobilenetCrops.test(240),
        {},
        'kl',
        240,
      ),
  },
  resnet20: {
    targets: [0.002, 0.001, 0.0005],
    open: () =>
      openCase(
        'resnet20-cifar10/resnet20_cifar10.onnx',
        `cifar:${shared('cifar10/train_png_batch0.bin.gz')}`,
        `cifar:${shared('cifar10/test_jpg_0-999.bin.gz')}`,
        { preprocess: 'imagenet' },
        'kl',
        400,
      ),
  },
};

export async function mixedBars() {
  for (const [name, { targets, open }] of Object.entries(CASES)) {
    if (!wanted(`mixed-${name}`)) continue;
    const { model, trials } = await open();
    try {
      const found = [];
      for (const target of targets) {
        const { search } = await mixedPrecision({ trials, mode: 'static', pass: quantizeStatic, options: {}, maxDrop: target });
        found.push(search);
      }
      const layers = await layerNames(model, trials);
      const rated = await ranked(trials, layers, targets);
      // Hundreds of evaluations: only where asked for.
      const grown = process.env.PARE_BENCH_FORWARD ? await forward(trials, layers, targets) : undefined;
      targets.forEach((target, i) => {
        const { kept, evaluations, sensitivityRuns, samples } = found[i];
        const equivalents = evaluations + sensitivityRuns / samples;
        figure(
          `  ${name} kl <= ${target}`,
          `kept ${kept.length} of ${layers.length}, ${evaluations} evaluations + ${(sensitivityRuns / samples).toFixed(1)} of sensitivity; ranked ${rated[i].kept} in ${rated[i].evaluations}${grown ? `; forward ${grown[i].kept} in ${grown[i].evaluations}` : ''}`,
        );
        atMost(`mixed-${name}-${target}-kept`, kept.length, rated[i].kept - 1, 'layers (ranked greedy less one)');
        if (grown) atMost(`mixed-${name}-${target}-forward`, kept.length, grown[i].kept, 'layers (forward greedy)');
        atMost(`mixed-${name}-${target}-evaluations`, equivalents, rated[i].evaluations / 3, 'evaluations (a third of ranked greedy)');
      });
    } finally {
      await trials.release();
    }
  }
}

/** Layers that quantizing everything does quantize: the input layer stays float as it is, and greedy need not try it. */
async function layerNames(model, trials) {
  const simple = (await runPasses(model, [simplify({ opset: 21 })], { engine: await nodeEngine() })).model;
  const { records } = await trials.build([quantizeStatic({})]);
  const left = new Set(records.flatMap((r) => r.skipped.map((s) => s.node)));
  return simple.graph.nodes
    .filter((n) => ['Conv', 'Gemm', 'MatMul'].includes(n.opType) && n.input(1)?.isConstant && !left.has(n.label))
    .map((n) => n.name || n.label);
}

/** Everything kept is the float model itself, which the pass would refuse. */
async function dropOf(trials, exclude, layers) {
  return exclude.length === layers.length ? 0 : (await trials.run([quantizeStatic({ exclude })])).drop;
}

async function ranked(trials, layers, targets) {
  const none = await dropOf(trials, [], layers);
  const drops = [];
  for (const layer of layers) drops.push(await dropOf(trials, [layer], layers));
  const order = layers.map((layer, i) => ({ layer, drop: drops[i] })).sort((a, b) => a.drop - b.drop);
  const path = [none, order[0].drop];
  const results = [];
  for (const target of targets) {
    let kept = 0;
    while (path[kept] > target) {
      kept++;
      path[kept] ??= await dropOf(
        trials,
        order.slice(0, kept).map((o) => o.layer),
        layers,
      );
    }
    results.push({ kept, evaluations: 1 + layers.length + Math.max(0, kept - 1) });
  }
  return results;
}

async function forward(trials, layers, targets) {
  let drop = await dropOf(trials, [], layers);
  let evaluations = 1;
  const chosen = [];
  const results = [];
  for (const target of targets) {
    while (drop > target) {
      let best;
      for (const layer of layers.filter((l) => !chosen.includes(l))) {
        const d = await dropOf(trials, [...chosen, layer], layers);
        evaluations++;
        if (!best || d < best.drop) best = { layer, drop: d };
      }
      chosen.push(best.layer);
      drop = best.drop;
    }
    results.push({ kept: chosen.length, evaluations });
  }
  return results;
}
