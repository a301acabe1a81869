// How pixels become a model's numbers: presets by name, or JSON. y = (x * scale + offset - mean) / std per channel, x in 0..255.
// Size, layout and number of channels come from the model's input where the settings leave them open.
import { z } from 'zod';
import { usageError } from '../errors.js';
import { DTYPES, type DType } from '../ir/dtype.js';

const size = z.int().positive();
const perChannel = z.union([z.number(), z.array(z.number()).min(1)]);

const SHAPE = {
  /** Whole picture to [height, width], or its shorter side to this many pixels. A fraction f in (0, 1]: shorter side to crop / f. */
  resize: z.union([size, z.tuple([size, size]), z.object({ fraction: z.number().positive().max(1) }), z.literal('none')]),
  /** Middle square, or [height, width]; default the model's size. */
  crop: z.union([size, z.tuple([size, size])]),
  interpolation: z.enum(['nearest', 'bilinear', 'bicubic']),
  scale: z.number(),
  offset: z.number(),
  mean: perChannel,
  std: perChannel,
  layout: z.enum(['nchw', 'nhwc']),
  channels: z.enum(['rgb', 'bgr', 'gray']),
  dtype: z.enum(Object.keys(DTYPES) as [DType, ...DType[]]),
};

export const preprocessSchema = z
  .strictObject({ preset: z.enum(['imagenet', 'mobilenet', 'cifar', 'mnist', 'unit', 'none']), ...SHAPE })
  .partial();

/** Settings as a JSON file gives them; every field may be left out. */
export type PreprocessInput = z.infer<typeof preprocessSchema>;

export interface Preprocess {
  readonly resize: number | readonly [number, number] | { readonly fraction: number } | 'none';
  readonly crop?: number | readonly [number, number] | undefined;
  readonly interpolation: 'nearest' | 'bilinear' | 'bicubic';
  readonly scale: number;
  readonly offset: number;
  readonly mean: number | readonly number[];
  readonly std: number | readonly number[];
  readonly layout?: 'nchw' | 'nhwc' | undefined;
  readonly channels?: 'rgb' | 'bgr' | 'gray' | undefined;
  readonly dtype?: DType | undefined;
}

const BASE = { resize: 'none', interpolation: 'bilinear', scale: 1 / 255, offset: 0, mean: 0, std: 1 } as const;

/**
 * `imagenet`: torchvision's evaluation (shorter side to size/0.875, middle crop, ImageNet mean and deviation). `mobilenet`: the same crop, values in [-1,1].
 * `cifar`: mean and deviation of CIFAR-10. `mnist`: those of MNIST. `unit`: x/255. `none`: pixels 0..255.
 */
export const PRESETS: Readonly<Record<NonNullable<PreprocessInput['preset']>, Preprocess>> = {
  imagenet: { ...BASE, resize: { fraction: 0.875 }, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  mobilenet: { ...BASE, resize: { fraction: 0.875 }, scale: 1 / 127.5, offset: -1 },
  cifar: { ...BASE, mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] },
  mnist: { ...BASE, mean: 0.1307, std: 0.3081 },
  unit: BASE,
  none: { ...BASE, scale: 1 },
};

/** A preset by name. Throws E_USAGE with the list of names. */
export function presetNamed(name: string): Preprocess {
  const preset = Object.entries(PRESETS).find(([key]) => key === name)?.[1];
  if (preset === undefined)
    throw usageError(`--preprocess: expected ${Object.keys(PRESETS).join(', ')} or a JSON file, got "${name}"`, {
      hint: 'a JSON file may hold preset, resize, crop, interpolation, scale, offset, mean, std, layout, channels, dtype',
    });
  return preset;
}

/** Settings from parsed JSON, over its `preset` (default: x/255). Throws E_USAGE naming the field that is wrong. */
export function parsePreprocess(json: unknown, file = 'preprocess JSON'): Preprocess {
  const parsed = preprocessSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw usageError(`${file}: ${issue.path.join('.') || 'settings'}: ${issue.message}`, {
      hint: 'fields: preset, resize, crop, interpolation, scale, offset, mean, std, layout, channels, dtype',
    });
  }
  const { preset, ...fields } = parsed.data;
  const set = Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined));
  const settings: Preprocess = { ...PRESETS[preset ?? 'unit'], ...set };
  for (const key of ['mean', 'std'] as const) {
    const value = settings[key];
    if (Array.isArray(value) && value.length !== 1 && value.length !== 3)
      throw usageError(`${file}: ${key}: expected one number or three, got ${value.length}`);
  }
  if ([settings.std].flat().some((s) => s === 0)) throw usageError(`${file}: std: expected numbers other than 0, got ${settings.std}`);
  return settings;
}
