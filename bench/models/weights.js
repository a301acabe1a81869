// Seeded normal deviates, fast enough for hundreds of millions: a table of normals read at pseudo-random places.
import { Rng, Tensor } from '../../dist/index.js';

const TABLE_SIZE = 1 << 16;

/** A function that fills float32 arrays with normal deviates of the given standard deviation. */
export function normalFiller(seed) {
  const rng = new Rng(seed);
  const table = Float32Array.from({ length: TABLE_SIZE }, () => rng.normal());
  let state = rng.uint32() | 1;
  return (length, std) => {
    const out = new Float32Array(length);
    for (let i = 0; i < length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      out[i] = table[state >>> 16] * std;
    }
    return out;
  };
}

/** A function that adds a constant of seeded normal deviates to the graph of builder `b`. */
export function normalConstants(b, seed) {
  const normal = normalFiller(seed);
  return (name, dims, std) => {
    const size = dims.reduce((a, d) => a * d, 1);
    return b.constant(name, Tensor.of('float', dims, normal(size, std)));
  };
}
