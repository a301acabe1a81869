// Decomposed activations back to one node: GELU by erf (exact) and by tanh, HardSigmoid, HardSwish, Mish; SiLU and quick GELU where contrib
// operators may be used. Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016).

import type { AttributeInput } from '../../ir/attribute.js';
import { nodeRule } from '../../rewrite/node-rule.js';
import { anyOf, matchAt, near, op, type Pattern, readOutside, scalar, scalarOf, value } from '../../rewrite/pattern.js';
import { type Miss, miss, type Rule, type RuleContext, rule } from '../../rewrite/rule.js';
import { dtypeOf } from './facts.js';

const close = (expected: number) => scalar((x) => near(x, expected, 1e-3));

const SQRT_HALF = Math.SQRT1_2;
const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI);

const x = value('x');
const half = (p: Pattern) => anyOf(op('Mul', [p, scalar(0.5)]), op('Div', [p, scalar(2)]));

/** x * 0.5 * (1 + inner), in every order that exporters write. */
function halfGate(inner: Pattern): Pattern {
  const gate = op('Add', [inner, scalar(1)]);
  return anyOf(
    op('Mul', [half(x), gate]),
    half(op('Mul', [x, gate])),
    op('Mul', [x, half(gate)]),
    op('Mul', [x, op('Add', [half(inner), scalar(0.5)])]),
  );
}

const gelu = halfGate(op('Erf', [anyOf(op('Div', [x, close(Math.SQRT2)]), op('Mul', [x, close(SQRT_HALF)]))]));

const cube = anyOf(op('Pow', [x, scalar(3)]), op('Mul', [x, op('Mul', [x, x])]), op('Mul', [x, op('Pow', [x, scalar(2)])]));
const squared = anyOf(op('Mul', [x, x]), op('Pow', [x, scalar(2)]));
const cubic = anyOf(
  op('Add', [x, op('Mul', [cube, close(0.044715)])]),
  op('Add', [x, op('Mul', [x, op('Mul', [x, op('Mul', [x, close(0.044715)])])])]),
  op('Mul', [x, op('Add', [op('Mul', [squared, close(0.044715)]), scalar(1)])]),
);
const scaledCubic = anyOf(
  op('Mul', [cubic, close(SQRT_2_OVER_PI)]),
  op('Mul', [op('Mul', [x, close(SQRT_2_OVER_PI)]), op('Add', [op('Mul', [squared, close(0.044715)]), scalar(1)])]),
  op('Mul', [op('Mul', [x, close(SQRT_2_OVER_PI)]), op('Add', [op('Mul', [op('Mul', [x, close(0.044715)]), x]), scalar(1)])]),
);
const geluTanh = halfGate(op('Tanh', [scaledCubic]));

const relu6 = (inner: Pattern) => op('Clip', [inner, scalar(0), scalar(6)]);
const plusThree = op('Add', [x, scalar(3)]);
const hardSigmoid = anyOf(op('Div', [relu6(plusThree), scalar(6)]), op('Mul', [relu6(plusThree), close(1 / 6)]));
const isSwishGate = (alpha: number, beta: number) => near(alpha, 1 / 6, 1e-6) && beta === 0.5;
const hardSigmoidNode = op('HardSigmoid', [x], { when: (n) => isSwishGate(n.float('alpha', 0.2), n.float('beta', 0.5)) });
const hardSwish = anyOf(
  op('Mul', [x, anyOf(hardSigmoid, hardSigmoidNode)]),
  op('Div', [op('Mul', [x, relu6(plusThree)]), scalar(6)]),
  op('Mul', [op('Mul', [x, relu6(plusThree)]), close(1 / 6)]),
);

const mish = op('Mul', [x, op('Tanh', [op('Softplus', [x])])]);
const silu = op('Mul', [x, op('Sigmoid', [x])]);
const quickGelu = op('Mul', [x, op('Sigmoid', [op('Mul', [x, scalar((s) => s > 0, 'alpha')])])]);

interface Target {
  readonly opType: string;
  readonly since: number;
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, AttributeInput>>;
}

/** A rule that replaces a function of `x` by one node of `target`. */
function activation(name: string, roots: readonly string[], pattern: Pattern, target: Target): Rule {
  return rule({
    name,
    roots,
    match: (root) => (root.domain === '' ? matchAt(pattern, root) : null),
    when: (match, ctx) => usable(match.values.x!, target, ctx) ?? notShared(match),
    replace: (match, ctx) => {
      const options = target.domain === undefined ? {} : { domain: target.domain };
      const alpha = match.values.alpha ? { alpha: { type: 'float', value: scalarOf(match.values.alpha)! } as const } : {};
      return [ctx.b.op(target.opType, [match.values.x!], { ...target.attributes, ...alpha }, options)];
    },
  });
}

function usable(input: Parameters<typeof dtypeOf>[0], target: Target, ctx: RuleContext): Miss | undefined {
  if (target.domain === undefined && ctx.opset < target.since)
    return miss(`${target.opType} needs opset ${target.since}, the model has ${ctx.opset}`);
  const dtype = dtypeOf(input);
  // Kernels of double precision are rare for these.
  if (dtype !== 'float' && dtype !== 'float16' && dtype !== 'bfloat16') return miss(`its input is ${dtype ?? 'of unknown type'}`);
  return undefined;
}

function notShared(match: Parameters<typeof readOutside>[0]): true | Miss {
  const other = readOutside(match);
  return other ? miss(`the result of ${other.label} is also read elsewhere`) : true;
}

/** clip(x, 0, h) / h, which is left of a hard sigmoid once its +3 went into a bias. */
const clippedRamp: Rule = nodeRule({
  name: 'fuse-clipped-ramp',
  roots: ['Div', 'Mul'],
  plan(node, ctx) {
    const clip = node.input(0)?.producer;
    const by = scalarOf(node.input(1));
    if (clip?.domain !== '' || clip.opType !== 'Clip' || by === undefined || !(by > 0)) return null;
    const high = scalarOf(clip.input(2));
    const unit = node.opType === 'Div' ? by : 1 / by;
    if (scalarOf(clip.input(1)) !== 0 || high === undefined || !near(high, unit, 1e-6)) return null;
    if (clip.output().readerCount > 1) return miss(`"${clip.output().name}" is also read elsewhere`);
    const reason = usable(clip.input(0), { opType: 'HardSigmoid', since: 6 }, ctx);
    if (reason) return reason;
    const attributes = { alpha: { type: 'float', value: Math.fround(1 / unit) }, beta: { type: 'float', value: 0 } } as const;
    return () => [ctx.b.op('HardSigmoid', [clip.input(0)], attributes)];
  },
});

export const ACTIVATION_RULES: readonly Rule[] = [
  activation('fuse-gelu', ['Mul', 'Div'], gelu, { opType: 'Gelu', since: 20 }),
  activation('fuse-gelu-tanh', ['Mul', 'Div'], geluTanh, { opType: 'Gelu', since: 20, attributes: { approximate: 'tanh' } }),
  activation('fuse-hard-swish', ['Mul', 'Div'], hardSwish, { opType: 'HardSwish', since: 14 }),
  activation('fuse-hard-sigmoid', ['Mul', 'Div'], hardSigmoid, {
    opType: 'HardSigmoid',
    since: 6,
    attributes: { alpha: { type: 'float', value: Math.fround(1 / 6) }, beta: { type: 'float', value: 0.5 } },
  }),
  clippedRamp,
  activation('fuse-mish', ['Mul'], mish, { opType: 'Mish', since: 18 }),
];

/** Needs operators of com.microsoft: only where the caller allows them. */
export const CONTRIB_ACTIVATION_RULES: readonly Rule[] = [
  activation('fuse-silu', ['Mul'], silu, {
    opType: 'QuickGelu',
    since: 1,
    domain: 'com.microsoft',
    attributes: { alpha: { type: 'float', value: 1 } },
  }),
  activation('fuse-quick-gelu', ['Mul'], quickGelu, { opType: 'QuickGelu', since: 1, domain: 'com.microsoft' }),
];
