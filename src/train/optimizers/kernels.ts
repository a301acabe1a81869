// Update kernels: the inner loops of the optimizers, over parameter, gradient and state arrays that lie in one buffer, in place.
// Here the plain form; simd.ts has the same in WebAssembly SIMD, equal to the bit: every operation is rounded to float32 where SIMD does.
// Moments below 2^-100 are set to zero: they change nothing, and as they decay on they would become subnormal numbers, which are very slow.

/** Moments smaller than this become zero. */
export const TINY = 2 ** -100;

/**
 * Addresses and lengths are in bytes, multiples of 16; `s` is the address of the scalars, float32, in the order given here.
 * p: parameters, g: gradients, m, v, b: state.
 */
export interface Kernels {
  /** p -= lr (scale g + decay p). Scalars: scale, decay, lr. */
  sgd(p: number, g: number, bytes: number, s: number): void;
  /** d = scale g + decay p; b = momentum b + fresh d; p -= lr b. Scalars: scale, decay, lr, momentum, fresh. */
  momentum(p: number, g: number, b: number, bytes: number, s: number): void;
  /** As `momentum`, but p -= lr (d + momentum b). */
  nesterov(p: number, g: number, b: number, bytes: number, s: number): void;
  /**
   * d = scale g + decay p; m = beta1 m + fresh1 d; v = beta2 v + fresh2 d^2; p = keep p - lr m / (root sqrt(v) + epsilon).
   * Scalars: scale, decay, lr, keep, beta1, fresh1, beta2, fresh2, root, epsilon.
   */
  adam(p: number, g: number, m: number, v: number, bytes: number, s: number): void;
  /** d = scale g; c = beta1 m + fresh1 d; m = beta2 m + fresh2 d; p = keep p - lr sign(c). Scalars: scale, lr, keep, beta1, fresh1, beta2, fresh2. */
  lion(p: number, g: number, m: number, bytes: number, s: number): void;
  /**
   * Moments as in `adam`, without decay; then g = first m / (root sqrt(v) + epsilon) + decay p.
   * Scalars: scale, decay, first, beta1, fresh1, beta2, fresh2, root, epsilon.
   */
  lambDirection(p: number, g: number, m: number, v: number, bytes: number, s: number): void;
  /** y = a y + b x. Scalars: a, b. */
  blend(y: number, x: number, bytes: number, s: number): void;
  /** Sum of x^2 in double precision, as four partial sums at address `out`. */
  sumSquares(x: number, bytes: number, out: number): void;
}

const { fround, sqrt, abs } = Math;

const flushed = (x: number): number => (abs(x) < TINY ? 0 : x);

/** The kernels as plain loops over a buffer. */
export function scalarKernels(buffer: ArrayBuffer): Kernels {
  const f = new Float32Array(buffer);

  function withMomentum(nesterov: boolean): Kernels['momentum'] {
    return (p, g, b, bytes, s) => {
      const [pi, gi, bi, si] = [p / 4, g / 4, b / 4, s / 4];
      const [scale, decay, lr, momentum, fresh] = [f[si]!, f[si + 1]!, f[si + 2]!, f[si + 3]!, f[si + 4]!];
      for (let i = 0; i < bytes / 4; i++) {
        const x = f[pi + i]!;
        const d = fround(fround(scale * f[gi + i]!) + fround(decay * x));
        const next = flushed(fround(fround(momentum * f[bi + i]!) + fround(fresh * d)));
        f[bi + i] = next;
        const u = nesterov ? fround(d + fround(momentum * next)) : next;
        f[pi + i] = fround(x - fround(lr * u));
      }
    };
  }

  return {
    sgd(p, g, bytes, s) {
      const [pi, gi, si] = [p / 4, g / 4, s / 4];
      const [scale, decay, lr] = [f[si]!, f[si + 1]!, f[si + 2]!];
      for (let i = 0; i < bytes / 4; i++) {
        const x = f[pi + i]!;
        const d = fround(fround(scale * f[gi + i]!) + fround(decay * x));
        f[pi + i] = fround(x - fround(lr * d));
      }
    },
    momentum: withMomentum(false),
    nesterov: withMomentum(true),
    adam(p, g, m, v, bytes, s) {
      const [pi, gi, mi, vi, si] = [p / 4, g / 4, m / 4, v / 4, s / 4];
      const [scale, decay, lr, keep] = [f[si]!, f[si + 1]!, f[si + 2]!, f[si + 3]!];
      const [beta1, fresh1, beta2, fresh2] = [f[si + 4]!, f[si + 5]!, f[si + 6]!, f[si + 7]!];
      const [root, epsilon] = [f[si + 8]!, f[si + 9]!];
      for (let i = 0; i < bytes / 4; i++) {
        const x = f[pi + i]!;
        const d = fround(fround(scale * f[gi + i]!) + fround(decay * x));
        const m1 = flushed(fround(fround(beta1 * f[mi + i]!) + fround(fresh1 * d)));
        const v1 = flushed(fround(fround(beta2 * f[vi + i]!) + fround(fresh2 * fround(d * d))));
        f[mi + i] = m1;
        f[vi + i] = v1;
        const denominator = fround(fround(root * fround(sqrt(v1))) + epsilon);
        f[pi + i] = fround(fround(keep * x) - fround(lr * fround(m1 / denominator)));
      }
    },
    lion(p, g, m, bytes, s) {
      const [pi, gi, mi, si] = [p / 4, g / 4, m / 4, s / 4];
      const [scale, lr, keep] = [f[si]!, f[si + 1]!, f[si + 2]!];
      const [beta1, fresh1, beta2, fresh2] = [f[si + 3]!, f[si + 4]!, f[si + 5]!, f[si + 6]!];
      for (let i = 0; i < bytes / 4; i++) {
        const d = fround(scale * f[gi + i]!);
        const m0 = f[mi + i]!;
        const c = fround(fround(beta1 * m0) + fround(fresh1 * d));
        f[mi + i] = flushed(fround(fround(beta2 * m0) + fround(fresh2 * d)));
        const u = c > 0 ? lr : c < 0 ? -lr : 0;
        f[pi + i] = fround(fround(keep * f[pi + i]!) - u);
      }
    },
    lambDirection(p, g, m, v, bytes, s) {
      const [pi, gi, mi, vi, si] = [p / 4, g / 4, m / 4, v / 4, s / 4];
      const [scale, decay, first] = [f[si]!, f[si + 1]!, f[si + 2]!];
      const [beta1, fresh1, beta2, fresh2] = [f[si + 3]!, f[si + 4]!, f[si + 5]!, f[si + 6]!];
      const [root, epsilon] = [f[si + 7]!, f[si + 8]!];
      for (let i = 0; i < bytes / 4; i++) {
        const d = fround(scale * f[gi + i]!);
        const m1 = flushed(fround(fround(beta1 * f[mi + i]!) + fround(fresh1 * d)));
        const v1 = flushed(fround(fround(beta2 * f[vi + i]!) + fround(fresh2 * fround(d * d))));
        f[mi + i] = m1;
        f[vi + i] = v1;
        const denominator = fround(fround(root * fround(sqrt(v1))) + epsilon);
        f[gi + i] = fround(fround(fround(first * m1) / denominator) + fround(decay * f[pi + i]!));
      }
    },
    blend(y, x, bytes, s) {
      const [yi, xi] = [y / 4, x / 4];
      const [a, b] = [f[s / 4]!, f[s / 4 + 1]!];
      for (let i = 0; i < bytes / 4; i++) f[yi + i] = fround(fround(a * f[yi + i]!) + fround(b * f[xi + i]!));
    },
    sumSquares(x, bytes, out) {
      const sums = new Float64Array(buffer, out, 4);
      const xi = x / 4;
      let [s0, s1, s2, s3] = [0, 0, 0, 0];
      for (let i = xi; i < xi + bytes / 4; i += 4) {
        s0 += f[i]! * f[i]!;
        s1 += f[i + 1]! * f[i + 1]!;
        s2 += f[i + 2]! * f[i + 2]!;
        s3 += f[i + 3]! * f[i + 3]!;
      }
      sums.set([s0, s1, s2, s3]);
    },
  };
}
