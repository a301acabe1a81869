// Zero padding in a Pad node becomes the padding of the convolution or average pooling that reads it.
import type { Node } from '../../ir/graph.js';
import { nodeRule } from '../../rewrite/node-rule.js';
import { scalarOf } from '../../rewrite/pattern.js';
import { miss, type Rule } from '../../rewrite/rule.js';
import { constantOf, intsOf, listOf, positiveAxis, rankOf } from './facts.js';

/** Padding of every axis as [begin, end], or undefined where it is not constant. */
function padding(node: Node): (readonly [number, number])[] | undefined {
  const pads = listOf(node, 'pads', 1);
  const rank = rankOf(node.input(0)) ?? (node.input(3) === null && pads ? pads.length / 2 : undefined);
  if (!pads || rank === undefined) return undefined;
  const axes =
    node.input(3) === null ? Array.from({ length: rank }, (_, i) => i) : intsOf(node.input(3))?.map((a) => positiveAxis(a, rank));
  if (axes === undefined || axes.length * 2 !== pads.length) return undefined;
  const all = Array.from({ length: rank }, (): readonly [number, number] => [0, 0]);
  axes.forEach((axis, i) => {
    all[axis] = [pads[i]!, pads[i + axes.length]!];
  });
  return all;
}

const padIntoConv: Rule = nodeRule({
  name: 'fold-pad',
  roots: ['Conv', 'AveragePool', 'FusedConv'],
  domains: ['', 'com.microsoft'],
  plan(node) {
    const pad = node.input(0)?.producer;
    if (pad?.domain !== '' || pad.opType !== 'Pad' || pad.graph !== node.graph) return null;
    if (pad.string('mode', 'constant') !== 'constant') return miss(`the padding repeats content (mode ${pad.string('mode')})`);
    const fill = pad.input(2) ? scalarOf(pad.input(2)) : pad.float('value', 0);
    if (fill !== 0) return miss(fill === undefined ? 'the padding value is not constant' : `the padding value is ${fill}, not 0`);
    const all = padding(pad);
    if (all === undefined) return miss('the padding is not constant');
    if (all.slice(0, 2).some(([a, b]) => a !== 0 || b !== 0)) return miss('it pads the batch or channel axis');
    const spatial = all.slice(2);
    if (spatial.some(([a, b]) => a < 0 || b < 0)) return miss('it crops');
    if (node.opType === 'FusedConv' && constantOf(node.input(3))) return miss('the fused addition has a shape of its own');
    const auto = node.string('auto_pad', 'NOTSET');
    if (auto !== 'NOTSET' && auto !== 'VALID') return miss(`auto_pad is ${auto}`);
    const own = node.ints('pads') ?? spatial.flatMap(() => [0, 0]);
    if (node.opType === 'AveragePool') {
      if (node.int('ceil_mode', 0) === 1) return miss('windows of ceil_mode count positions outside the padding differently');
      if (node.int('count_include_pad', 0) === 0 && own.some((p) => p !== 0)) return miss('its own padding does not count in the average');
    }
    return () => {
      const n = spatial.length;
      node.setAttribute('pads', [...spatial.map(([a], i) => own[i]! + a), ...spatial.map(([, b], i) => own[n + i]! + b)]);
      node.setAttribute('auto_pad', undefined);
      if (node.opType === 'AveragePool') node.setAttribute('count_include_pad', 1);
      node.setInput(0, pad.input(0));
      return 'edited';
    };
  },
});

export const PAD_RULES: readonly Rule[] = [padIntoConv];
