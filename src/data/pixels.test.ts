// Image geometry against Pillow 12 (the expected pixels were computed there), and preprocessing.
import { describe, expect, it } from 'vitest';
import { PareError } from '../errors.js';
import { Tensor } from '../ir/tensor.js';
import { imagesToTensor, normalizeRows, planImages, shapeImage } from './image-plan.js';
import type { ModelInput } from './inputs.js';
import { cropCenter, type PixelImage, resizeImage, resizeShorter, toChannels } from './pixels.js';
import { PRESETS, parsePreprocess, presetNamed } from './preprocess.js';

const SOURCE = [
  242, 18, 153, 131, 160, 197, 255, 70, 151, 83, 245, 24, 68, 193, 61, 134, 159, 21, 19, 218, 150, 162, 12, 30, 64, 92, 66, 101, 229, 158,
  235, 40, 31, 253, 170,
];
const grey = (width: number, height: number, values: ArrayLike<number>): PixelImage => ({
  width,
  height,
  channels: 1,
  data: Uint8Array.from(values),
});
const image = grey(7, 5, SOURCE);
const input = (shape: (number | string | null)[], dtype: ModelInput['dtype'] = 'float'): ModelInput => ({ name: 'x', dtype, shape });

describe('resizing', () => {
  it('equals Pillow', () => {
    expect([...resizeImage(image, 3, 2, 'bilinear').data]).toEqual([113, 120, 147, 122, 80, 129]);
    expect([...resizeImage(image, 3, 2, 'bicubic').data]).toEqual([113, 118, 151, 127, 73, 129]);
    expect([...resizeImage(image, 9, 6, 'bilinear').data].slice(0, 18)).toEqual([
      242, 93, 78, 148, 131, 154, 181, 216, 255, 113, 116, 110, 126, 217, 93, 81, 137, 209,
    ]);
    expect([...resizeImage(image, 9, 6, 'bicubic').data].slice(45)).toEqual([234, 179, 204, 212, 39, 11, 166, 248, 168]);
  });

  it('keeps the aspect ratio and crops the middle', () => {
    const tall = resizeShorter(grey(40, 61, new Uint8Array(40 * 61)), 20);
    expect([tall.width, tall.height]).toEqual([20, 30]);
    expect([...cropCenter(image, 3, 1).data]).toEqual([159, 21, 19]);
    const padded = cropCenter(grey(1, 1, [9]), 3, 3);
    expect([...padded.data]).toEqual([0, 0, 0, 0, 9, 0, 0, 0, 0]);
  });

  it('converts between colour and grey', () => {
    expect([...toChannels(grey(2, 1, [5, 6]), 3).data]).toEqual([5, 5, 5, 6, 6, 6]);
    expect([...toChannels({ width: 1, height: 1, channels: 3, data: Uint8Array.of(255, 0, 0) }, 1).data]).toEqual([76]);
  });
});

describe('preprocessing', () => {
  const rgb: PixelImage = { width: 2, height: 1, channels: 3, data: Uint8Array.of(0, 51, 255, 102, 153, 204) };

  it('lays images out as the model asks', () => {
    const values = (shape: (number | string)[], json: unknown) => {
      const plan = planImages(input(shape), parsePreprocess(json), rgb);
      const tensor = imagesToTensor([rgb], plan);
      return [tensor.dims, Array.from(tensor.floats(), (v) => Math.round(v * 255))];
    };
    expect(values(['N', 3, 1, 2], {})).toEqual([
      [1, 3, 1, 2],
      [0, 102, 51, 153, 255, 204],
    ]);
    expect(values(['N', 1, 2, 3], { layout: 'nhwc' })).toEqual([
      [1, 1, 2, 3],
      [0, 51, 255, 102, 153, 204],
    ]);
    expect(values(['N', 1, 2, 3], { layout: 'nhwc', channels: 'bgr' })).toEqual([
      [1, 1, 2, 3],
      [255, 51, 0, 204, 153, 102],
    ]);
    expect(values(['N', 6], {})).toEqual([
      [1, 6],
      [0, 51, 255, 102, 153, 204],
    ]);
    expect(values(['N', 2], {})).toEqual([
      [1, 2],
      [59, 144],
    ]);
  });

  it('applies scale, mean and deviation per channel', () => {
    const plan = planImages(input(['N', 3, 1, 2]), PRESETS.imagenet, rgb);
    const out = imagesToTensor([rgb], plan).floats();
    expect(out[0]).toBeCloseTo((0 - 0.485) / 0.229, 5);
    expect(out[4]).toBeCloseTo((1 - 0.406) / 0.225, 5);
    const array = Tensor.from('float', [1, 3, 1, 2], [0, 102, 51, 153, 255, 204]);
    expect([...normalizeRows(input(['N', 3, 1, 2]), array, PRESETS.imagenet).floats()]).toEqual([...out]);
  });

  it('leaves images of the right size alone and resizes others as torchvision does', () => {
    const plan = planImages(input(['N', 1, 5, 7]), PRESETS.imagenet);
    expect(shapeImage(image, plan)).toBe(image);
    const square = planImages(input(['N', 1, 14, 14]), PRESETS.imagenet);
    const expected = cropCenter(
      resizeShorter(
        grey(
          32,
          20,
          new Uint8Array(640).map((_, i) => i),
        ),
        16,
      ),
      14,
      14,
    );
    expect(
      shapeImage(
        grey(
          32,
          20,
          new Uint8Array(640).map((_, i) => i),
        ),
        square,
      ),
    ).toEqual(expected);
  });

  it('writes integer inputs rounded and clamped', () => {
    const plan = planImages(input(['N', 1, 1, 2], 'uint8'), PRESETS.none);
    const tensor = imagesToTensor([grey(2, 1, [7, 255])], plan);
    expect([tensor.dtype, [...tensor.bytes()]]).toEqual(['uint8', [7, 255]]);
  });

  it('finds the size in the model, the settings or the images', () => {
    const size = (shape: (number | string)[], json: unknown = {}, native?: PixelImage) => {
      const { width, height, channels, layout } = planImages(input(shape), parsePreprocess(json), native);
      return [height, width, channels, layout];
    };
    expect(size(['N', 3, 'H', 'W'])).toEqual([224, 224, 3, 'nchw']);
    expect(size(['N', 'C', 'H', 'W'], {}, image)).toEqual([5, 7, 1, 'nchw']);
    expect(size(['N', 'H', 'W', 3], { crop: [6, 8] })).toEqual([6, 8, 3, 'nhwc']);
    expect(size(['N', 28, 28])).toEqual([28, 28, 1, 'nhw']);
    expect(size(['N', 3072])).toEqual([32, 32, 3, 'flat']);
    expect(size(['N', 600], { resize: [10, 20] })).toEqual([10, 20, 3, 'flat']);
  });

  it('names what is wrong', () => {
    expect(() => presetNamed('imgnet')).toThrow(/expected imagenet, mobilenet, .*got "imgnet"/);
    expect(() => parsePreprocess({ rezise: 3 }, 'p.json')).toThrow(/p\.json.*rezise/);
    expect(() => parsePreprocess({ resize: -1 }, 'p.json')).toThrow(/p\.json: resize/);
    expect(() => parsePreprocess({ std: [1, 0, 1] })).toThrow(/std/);
    expect(() => parsePreprocess({ mean: [1, 2] })).toThrow(/expected one number or three, got 2/);
    expect(() => planImages(input(['N', 5, 8, 8]), PRESETS.unit)).toThrow(/"x" float\[N,5,8,8\].*got 5/);
    expect(() => planImages(input(['N', 3, 8, 8]), { ...PRESETS.unit, crop: 9 })).toThrow(/"crop": 9 was asked for/);
    expect(() => planImages(input(['N', 'T'], 'int64'), PRESETS.unit)).toThrow(PareError);
    expect(() => planImages(input(['N', 100]), PRESETS.unit, rgb)).toThrow(/got images of 2x1 pixels/);
  });
});
