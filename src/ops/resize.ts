// Resampling of images: Resize (scales or sizes), its forerunner Upsample, GridSample, AffineGrid, Col2Im and ImageDecoder.
import { equalDims, floorDivDims, mulDims } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import { axesText, ignored, letters, outputShape } from './axes-text.js';
import { floating, requireType } from './element-record.js';
import { gridSampleGrad } from './grid-sample-grad.js';
import { normalizeAxis, requireRank, shapeFromInput, tensorResult, unifyDims } from './infer-helpers.js';
import type { Axes, InferContext, OpRecord, QuantFacts } from './op.js';
import { knownNumbers, shapeItems, sizeOf } from './partial-value.js';
import { resizeGrad } from './resize-grad.js';

/** Largest denominator of a scale that is still written as a symbolic expression. */
const MAX_DENOMINATOR = 64;

/** floor(extent * scale) as ONNX Runtime computes it: the product in float32. null for a symbol under a scale that is no simple fraction. */
function scaledExtent(extent: Dim, scale: number): Dim {
  if (extent === null) return null;
  if (typeof extent === 'number') return Math.floor(Math.fround(Math.fround(scale) * extent));
  for (let q = 1; q <= MAX_DENOMINATOR; q++) {
    if (Number.isInteger(scale * q)) return floorDivDims(mulDims(extent, scale * q), q);
  }
  return null;
}

/** Extents for `sizes` that keep the aspect ratio: all axes scaled by the smallest or largest of the ratios, rounded half up. */
function aspectKept(inputs: readonly Dim[], sizes: readonly Dim[], policy: string): Dim[] {
  if (inputs.some((d) => typeof d !== 'number') || sizes.some((d) => typeof d !== 'number')) return sizes.map(() => null);
  const ratios = sizes.map((s, i) => Math.fround((s as number) / (inputs[i] as number)));
  const scale = policy === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios);
  return inputs.map((d) => Math.floor(Math.fround(scale * (d as number)) + 0.5));
}

function resizedShape(ctx: InferContext): Shape | null {
  const shape = ctx.shape(0);
  if (shape === null) return null;
  const [scalesAt, sizesAt] = ctx.opset < 11 ? [1, -1] : [2, 3];
  const axes = (ctx.node.ints('axes') ?? shape.map((_, i) => i)).map((a) => normalizeAxis(ctx, a, shape.length));
  const put = (values: readonly Dim[]) => shape.map((d, i) => (axes.includes(i) ? (values[axes.indexOf(i)] ?? ctx.symbol(`axis${i}`)) : d));
  const check = (input: number, count: number) => {
    if (count !== axes.length) ctx.failShape(input, `${axes.length} values, one an axis`, String(count));
  };
  const scales = ctx.has(scalesAt) ? knownNumbers(ctx, scalesAt) : undefined;
  // An empty `scales` stands for an omitted one in opset 11.
  const bySizes = sizesAt > 0 && ctx.has(sizesAt) && (scales === undefined || scales.length === 0);
  if (bySizes) {
    const sizes = shapeItems(ctx, sizesAt);
    if (sizes === undefined) return put([]);
    check(sizesAt, sizes.length);
    const policy = ctx.node.string('keep_aspect_ratio_policy', 'stretch');
    if (policy === 'stretch') return put(sizes);
    return put(
      aspectKept(
        axes.map((a) => shape[a]!),
        sizes,
        policy,
      ),
    );
  }
  if (scales === undefined) return put([]);
  check(scalesAt, scales.length);
  return put(scales.map((s, i) => scaledExtent(shape[axes[i]!]!, s)));
}

/** Axes whose extent stays are untouched and free; the others must stay whole. */
function resizeAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const from = inputs[0];
  const to = outputShape(node);
  if (!from || from.length !== to?.length || node.string('coordinate_transformation_mode', '') === 'tf_crop_and_resize') return 'opaque';
  const terms = letters(from.length).map((t, i) => (equalDims(from[i]!, to[i]!) === true ? t : '.'));
  return axesText([terms, ...ignored(node)], [terms]);
}

function resizeQuant(node: Node): QuantFacts {
  return { kind: node.string('mode', 'nearest') === 'nearest' ? 'passthrough' : 'function', data: [0] };
}

function upsampledShape(ctx: InferContext): Shape | null {
  const shape = ctx.shape(0);
  if (shape === null) return null;
  const heightScale = ctx.node.float('height_scale');
  const widthScale = ctx.node.float('width_scale');
  const scales =
    heightScale !== undefined && widthScale !== undefined
      ? [1, 1, heightScale, widthScale]
      : ctx.has(1)
        ? knownNumbers(ctx, 1)
        : ctx.node.floats('scales');
  if (scales && scales.length !== shape.length) ctx.failShape(ctx.has(1) ? 1 : 0, `${shape.length} scales`, String(scales.length));
  return shape.map((d, i) => (scales ? scaledExtent(d, scales[i]!) : null) ?? ctx.symbol(`axis${i}`));
}

const record = { domain: '', grad: 'none', quant: 'none', cost: 'elementwise' } as const;

const gridSample: OpRecord = {
  ...record,
  grad: gridSampleGrad,
  opType: 'GridSample',
  since: 16,
  infer(ctx) {
    requireType(ctx, 1, floating);
    const image = ctx.shape(0);
    const grid = ctx.shape(1);
    if (image && grid) {
      if (image.length !== grid.length) ctx.failShape(1, `rank ${image.length}`, formatShape(grid));
      unifyDims(ctx, 1, image.length - 2, grid.at(-1)!, 'coordinates a point:');
      unifyDims(ctx, 1, image[0]!, grid[0]!, 'batch');
    }
    const rank = image?.length ?? grid?.length;
    if (rank === undefined) return [tensorResult(ctx.dtype(0), null)];
    const places = grid ? grid.slice(1, -1) : new Array<Dim>(rank - 2).fill(null);
    return [tensorResult(ctx.dtype(0), [image?.[0] ?? grid?.[0] ?? null, image?.[1] ?? null, ...places])];
  },
  axes: (_node, inputs) => {
    const rank = inputs[0]?.length;
    if (rank === undefined) return 'opaque';
    const [n, c, ...places] = letters(rank);
    return axesText(
      [
        [n!, c!, ...places.map(() => '.')],
        [n!, ...places, '.'],
      ],
      [[n!, c!, ...places]],
    );
  },
};

const affineGrid: OpRecord = {
  ...record,
  opType: 'AffineGrid',
  since: 20,
  infer(ctx) {
    requireType(ctx, 0, floating);
    requireRank(ctx, 0, 3);
    const size = shapeFromInput(ctx, 1);
    const theta = ctx.shape(0);
    if (size === null) return [tensorResult(ctx.dtype(0), null)];
    if (size.length !== 4 && size.length !== 5) ctx.failShape(1, '4 or 5 extents', formatShape(size));
    const n = theta ? unifyDims(ctx, 0, size[0]!, theta[0]!, 'batch') : size[0]!;
    return [tensorResult(ctx.dtype(0), [n, ...size.slice(2), size.length - 2])];
  },
  axes: 'opaque',
};

const col2im: OpRecord = {
  ...record,
  opType: 'Col2Im',
  since: 18,
  infer(ctx) {
    requireRank(ctx, 0, 3);
    const image = shapeFromInput(ctx, 1);
    const block = knownNumbers(ctx, 2);
    const shape = ctx.shape(0);
    if (image === null) return [tensorResult(ctx.dtype(0), null)];
    const columns = shape?.[1] ?? null;
    const perChannel = block && sizeOf(block);
    if (perChannel && typeof columns === 'number' && columns % perChannel !== 0)
      ctx.failShape(0, `channels times ${perChannel} rows`, String(columns));
    return [tensorResult(ctx.dtype(0), [shape?.[0] ?? null, perChannel ? floorDivDims(columns, perChannel) : null, ...image])];
  },
  axes: 'opaque',
};

const imageDecoder: OpRecord = {
  ...record,
  opType: 'ImageDecoder',
  since: 20,
  infer(ctx) {
    requireType(ctx, 0, (d) => d === 'uint8');
    requireRank(ctx, 0, 1);
    const channels = ctx.node.string('pixel_format', 'RGB') === 'Grayscale' ? 1 : 3;
    return [tensorResult('uint8', [ctx.symbol('height'), ctx.symbol('width'), channels])];
  },
  axes: 'opaque',
};

export const RESIZE_OPS: readonly OpRecord[] = [
  {
    ...record,
    grad: resizeGrad,
    opType: 'Resize',
    since: 10,
    infer: (ctx) => [tensorResult(ctx.dtype(0), resizedShape(ctx))],
    axes: resizeAxes,
    quant: resizeQuant,
  },
  {
    ...record,
    opType: 'Upsample',
    since: 1,
    infer: (ctx) => [tensorResult(ctx.dtype(0), upsampledShape(ctx))],
    axes: resizeAxes,
    quant: resizeQuant,
  },
  gridSample,
  affineGrid,
  col2im,
  imageDecoder,
];
