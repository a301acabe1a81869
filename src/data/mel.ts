// Log-mel features: frames, Hann window, power spectrum by FFT, triangular mel filters, logarithm.
// Scales: HTK (2595 log10(1 + f/700)) and Slaney (linear below 1 kHz, logarithmic above), filters of unit height or Slaney's unit area.

export interface MelSettings {
  /** Hertz. */
  readonly sampleRate: number;
  /** Samples per frame; zero-padded to `fft`. */
  readonly window: number;
  /** Power of two, at least `window`. */
  readonly fft: number;
  readonly hop: number;
  readonly mels: number;
  /** Hertz. */
  readonly fmin: number;
  readonly fmax: number;
  readonly scale: 'htk' | 'slaney';
  readonly norm: 'none' | 'slaney';
  /** 2 power, 1 magnitude. */
  readonly power: 1 | 2;
  readonly log: 'natural' | 'log10' | 'db' | 'none';
  /** Smallest value before the logarithm. */
  readonly floor: number;
  /** Pad half a frame at both ends, by reflection. */
  readonly center: boolean;
}

const MEL_1K = 15;
const LOG_STEP = Math.log(6.4) / 27;

const toMel = (f: number, scale: MelSettings['scale']) =>
  scale === 'htk' ? 2595 * Math.log10(1 + f / 700) : f < 1000 ? (3 * f) / 200 : MEL_1K + Math.log(f / 1000) / LOG_STEP;
const toHertz = (m: number, scale: MelSettings['scale']) =>
  scale === 'htk' ? 700 * (10 ** (m / 2595) - 1) : m < MEL_1K ? (200 * m) / 3 : 1000 * Math.exp((m - MEL_1K) * LOG_STEP);

/** Filters [mels, fft/2+1], row-major. */
export function melFilters({ sampleRate, fft, mels, fmin, fmax, scale, norm }: MelSettings): Float32Array {
  const bins = fft / 2 + 1;
  const low = toMel(fmin, scale);
  const step = (toMel(fmax, scale) - low) / (mels + 1);
  const edges = Array.from({ length: mels + 2 }, (_, i) => toHertz(low + i * step, scale));
  const out = new Float32Array(mels * bins);
  for (let m = 0; m < mels; m++) {
    const [left, peak, right] = [edges[m]!, edges[m + 1]!, edges[m + 2]!];
    const height = norm === 'slaney' ? 2 / (right - left) : 1;
    for (let b = 0; b < bins; b++) {
      const f = (b * sampleRate) / fft;
      out[m * bins + b] = height * Math.max(0, Math.min((f - left) / (peak - left), (right - f) / (right - peak)));
    }
  }
  return out;
}

/** In-place radix-2 FFT of a power-of-two length (Cooley and Tukey, 1965). */
export function fftInPlace(re: Float64Array, im: Float64Array): void {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j]!, re[i]!];
      [im[i], im[j]] = [im[j]!, im[i]!];
    }
  }
  for (let size = 2; size <= n; size <<= 1) {
    const half = size >> 1;
    for (let k = 0; k < half; k++) {
      const angle = (-2 * Math.PI * k) / size;
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      for (let a = k; a < n; a += size) {
        const b = a + half;
        const [x, y] = [re[b]! * c - im[b]! * s, re[b]! * s + im[b]! * c];
        re[b] = re[a]! - x;
        im[b] = im[a]! - y;
        re[a]! += x;
        im[a]! += y;
      }
    }
  }
}

/** Number of frames that `length` samples give. */
export function frameCount(length: number, { window, hop, center }: MelSettings): number {
  const padded = center ? length + 2 * Math.floor(window / 2) : length;
  return padded < window ? 0 : 1 + Math.floor((padded - window) / hop);
}

/** A function from samples to features [frames, mels], row-major; filters and window are made once. */
export function melExtractor(settings: MelSettings): (samples: Float32Array) => { frames: number; features: Float32Array } {
  const { window, fft, hop, mels, power, floor, center } = settings;
  const filters = melFilters(settings);
  const bins = fft / 2 + 1;
  const hann = Float64Array.from({ length: window }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / window));
  const toLog: Record<MelSettings['log'], (v: number) => number> = {
    natural: Math.log,
    log10: Math.log10,
    db: (v) => 10 * Math.log10(v),
    none: (v) => v,
  };
  const log = toLog[settings.log];
  const re = new Float64Array(fft);
  const im = new Float64Array(fft);
  const spectrum = new Float64Array(bins);
  return (samples) => {
    const frames = frameCount(samples.length, settings);
    const features = new Float32Array(frames * mels);
    const shift = center ? Math.floor(window / 2) : 0;
    const last = samples.length - 1;
    for (let t = 0; t < frames; t++) {
      re.fill(0);
      im.fill(0);
      for (let i = 0; i < window; i++) {
        let at = t * hop + i - shift;
        if (at < 0) at = Math.min(-at, last);
        if (at > last) at = Math.max(0, 2 * last - at);
        re[i] = (samples[at] ?? 0) * hann[i]!;
      }
      fftInPlace(re, im);
      for (let b = 0; b < bins; b++) {
        const energy = re[b]! ** 2 + im[b]! ** 2;
        spectrum[b] = power === 2 ? energy : Math.sqrt(energy);
      }
      for (let m = 0; m < mels; m++) {
        let sum = 0;
        for (let b = 0; b < bins; b++) sum += filters[m * bins + b]! * spectrum[b]!;
        features[t * mels + m] = log(settings.log === 'none' ? sum : Math.max(sum, floor));
      }
    }
    return { frames, features };
  };
}
