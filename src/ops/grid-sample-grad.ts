// Gradient of GridSample on images [n,c,h,w], bilinear or nearest, padded with zeros or the border. Each sampled point has up to four neighbours: the image's
// gradient is scattered to them in order, the grid's is the slope of the interpolation. Not: cubic, reflection, volumes.
import type { Value } from '../ir/graph.js';
import { dimsOf, dtypeOf } from './grad-builder.js';
import type { GradContext, GradFn } from './op.js';

/** One neighbour of every point, all [n,1,points]: where it is in a flat image, its weight, and the weight's slopes along x and y. */
interface Corner {
  readonly at: Value;
  readonly weight: Value;
  readonly alongX?: Value;
  readonly alongY?: Value;
}

/** Position of every point along one axis in pixels, and pixels per unit of the grid. */
function positions(
  ctx: GradContext,
  coordinate: number,
  extent: number,
): { readonly at: Value; readonly inside?: Value; readonly slope: number } {
  const { b, node } = ctx;
  const grid = ctx.input(1);
  const [n, h, w] = dimsOf(grid) as readonly [number, number, number];
  const g = b.reshape(b.slice(grid, [3], [coordinate], [coordinate + 1]), [n, 1, h * w]);
  const slope = (node.int('align_corners', 0) ? extent - 1 : extent) / 2;
  const at = b.shift(b.scale(g, slope), (extent - 1) / 2);
  if (node.string('padding_mode', 'zeros') === 'zeros') return { at, slope };
  const clipped = b.op('Clip', [at, b.number(at, 0), b.number(at, extent - 1)]);
  return { at: clipped, inside: b.op('Equal', [at, clipped]), slope };
}

function corners(ctx: GradContext, x: Value, y: Value, height: number, width: number): Corner[] {
  const { b, node } = ctx;
  const inImage = (v: Value, extent: number) =>
    b.op('And', [b.op('Not', [b.op('Less', [v, b.number(v, 0)])]), b.op('Less', [v, b.number(v, extent)])]);
  const corner = (cx: Value, cy: Value, weight: Value, alongX?: Value, alongY?: Value): Corner => {
    const valid = b.op('And', [inImage(cx, width), inImage(cy, height)]);
    const at = b.cast(b.mask(valid, b.add(b.scale(cy, width), cx)), 'int64');
    const keep = (v: Value) => b.mask(valid, v);
    return { at, weight: keep(weight), ...(alongX && alongY ? { alongX: keep(alongX), alongY: keep(alongY) } : {}) };
  };
  const one = b.full(x, dimsOf(x), 1);
  if (node.string('mode', 'linear') === 'nearest') return [corner(b.op('Round', [x]), b.op('Round', [y]), one)];
  const [x0, y0] = [b.op('Floor', [x]), b.op('Floor', [y])];
  const [fx, fy] = [b.sub(x, x0), b.sub(y, y0)];
  const [gx, gy] = [b.sub(one, fx), b.sub(one, fy)];
  const [x1, y1] = [b.shift(x0, 1), b.shift(y0, 1)];
  return [
    corner(x0, y0, b.mul(gx, gy), b.neg(gy), b.neg(gx)),
    corner(x1, y0, b.mul(fx, gy), gy, b.neg(fx)),
    corner(x0, y1, b.mul(gx, fy), b.neg(fy), gx),
    corner(x1, y1, b.mul(fx, fy), fy, fx),
  ];
}

export const gridSampleGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const image = ctx.input(0);
  const dims = dimsOf(image);
  if (dims.length !== 4) return ctx.unsupported('volumes');
  const [n, c, height, width] = dims as readonly [number, number, number, number];
  const [mode, padding] = [node.string('mode', 'linear'), node.string('padding_mode', 'zeros')];
  if (!['linear', 'bilinear', 'nearest'].includes(mode)) return ctx.unsupported(`mode "${mode}"`);
  if (padding === 'reflection') return ctx.unsupported('reflection');
  if (ctx.opset < 16) return ctx.unsupported(`opset ${ctx.opset}: expected 16 or newer`);
  const points = dimsOf(ctx.input(1))
    .slice(1, 3)
    .reduce((p, d) => p * d, 1);
  const dy = b.reshape(ctx.outputGrad(), [n, c, points]);
  const [x, y] = [positions(ctx, 0, width), positions(ctx, 1, height)];
  const around = corners(ctx, x.at, y.at, height, width);
  const everyChannel = (at: Value) => b.expand(at, [n, c, dimsOf(at)[2]!]);

  const imageGrad = (): Value => {
    const at = everyChannel(
      b.concat(
        around.map((k) => k.at),
        2,
      ),
    );
    const updates = b.concat(
      around.map((k) => b.mul(dy, k.weight)),
      2,
    );
    const zeros = b.full(image, [n, c, height * width], 0);
    return b.reshape(b.op('ScatterElements', [zeros, at, updates], { axis: 2, reduction: 'add' }), dims);
  };
  const gridGrad = (): Value | null => {
    if (mode === 'nearest') return null;
    const flat = b.reshape(image, [n, c, height * width]);
    // Of each corner: the gradient's share, summed over channels.
    const shares = around.map((k) => b.reduceSum(b.mul(dy, b.op('GatherElements', [flat, everyChannel(k.at)], { axis: 2 })), [1]));
    const along = (slopes: readonly (Value | undefined)[], axis: typeof x): Value => {
      const sum = shares.map((s, i) => b.mul(s, slopes[i]!)).reduce((a, v) => b.add(a, v));
      const scaled = b.scale(sum, axis.slope);
      return b.reshape(axis.inside ? b.mask(axis.inside, scaled) : scaled, [...dimsOf(ctx.input(1)).slice(0, 3), 1]);
    };
    const parts = [
      along(
        around.map((k) => k.alongX),
        x,
      ),
      along(
        around.map((k) => k.alongY),
        y,
      ),
    ];
    return b.cast(b.concat(parts, 3), dtypeOf(ctx.input(1)));
  };
  return [ctx.wants[0] ? imageGrad() : null, ctx.wants[1] ? gridGrad() : null];
};
