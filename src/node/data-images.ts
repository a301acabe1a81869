// Picture files decoded by sharp (libvips), which is loaded only when there are pictures: 8-bit grey or RGB, turned upright by their EXIF orientation.
import type { PixelImage } from '../data/pixels.js';
import { dataError } from '../errors.js';

export const isImageFile = (path: string) => /\.(jpe?g|png|webp|gif|avif|tiff?)$/i.test(path);

/** Pictures above this many pixels are refused before they are decoded. */
const MAX_PIXELS = 100_000_000;

/** Throws E_DATA, naming the file, where it is no picture or cut off. */
export async function decodeImage(bytes: Uint8Array, file: string): Promise<PixelImage> {
  const { default: sharp } = await import('sharp');
  try {
    const picture = sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: 'truncated' }).autoOrient().removeAlpha().toColourspace('srgb');
    const { data, info } = await picture.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    if (info.channels !== 1 && info.channels !== 3) throw new Error(`${info.channels} channels`);
    return { width: info.width, height: info.height, channels: info.channels, data };
  } catch (cause) {
    throw dataError(`picture "${file}": ${cause instanceof Error ? cause.message : String(cause)}`, {
      place: { file },
      hint: 'the file is cut off, damaged or no picture; remove or replace it',
      cause,
    });
  }
}
