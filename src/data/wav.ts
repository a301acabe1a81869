// WAV files (RIFF): PCM of 8, 16, 24 and 32 bits and float of 32 and 64, any number of channels mixed to one; and band-limited resampling.
// Compressed formats (ADPCM, MP3 in WAV) are refused.
import { formatError, unsupportedError } from '../errors.js';

export interface Sound {
  /** Hertz. */
  readonly sampleRate: number;
  /** Mono samples, -1 to 1. */
  readonly samples: Float32Array;
}

/** Throws E_FORMAT for damaged files, E_UNSUPPORTED for compressed ones. */
export function parseWav(bytes: Uint8Array, file = '.wav'): Sound {
  const fail = (message: string) => formatError(`WAV: ${message}`, { place: { file } });
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const tag = (at: number) => (at + 4 <= bytes.length ? String.fromCharCode(...bytes.subarray(at, at + 4)) : '');
  if (tag(0) !== 'RIFF' || tag(8) !== 'WAVE') throw fail(`expected "RIFF....WAVE", got "${tag(0)}....${tag(8)}"`);
  let format: { code: number; channels: number; rate: number; bits: number } | undefined;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    const start = at + 8;
    if (tag(at) === 'fmt ') {
      if (size < 16 || start + size > bytes.length)
        throw fail(`expected a format of at least 16 bytes, got ${Math.min(size, bytes.length - start)}`);
      const code = view.getUint16(start, true);
      format = {
        // The extensible format holds the real code at the start of its GUID.
        code: code === 0xfffe && size >= 26 ? view.getUint16(start + 24, true) : code,
        channels: view.getUint16(start + 2, true),
        rate: view.getUint32(start + 4, true),
        bits: view.getUint16(start + 14, true),
      };
    } else if (tag(at) === 'data') {
      if (format === undefined) throw fail('expected the format before the samples, got the samples first');
      // Recorders that stream leave the size at 0 or 2^32-1: the rest of the file is meant.
      const open = size === 0xffffffff || (size === 0 && start < bytes.length);
      if (!open && start + size > bytes.length) throw fail(`expected ${size} bytes of samples, got ${bytes.length - start}`);
      return decodeSamples(bytes.subarray(start, open ? bytes.length : start + size), format, file);
    }
    at = start + size + (size & 1);
  }
  throw fail('expected samples, got none');
}

function decodeSamples(data: Uint8Array, format: { code: number; channels: number; rate: number; bits: number }, file: string): Sound {
  const { code, channels, rate, bits } = format;
  const read = readerOf(code, bits);
  if (read === undefined)
    throw unsupportedError(`WAV: expected PCM of 8, 16, 24 or 32 bits or float of 32 or 64, got format ${code} with ${bits} bits`, {
      place: { file },
    });
  if (channels === 0 || rate === 0)
    throw formatError(`WAV: expected channels and a sample rate, got ${channels} and ${rate}`, { place: { file } });
  const width = bits / 8;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const count = Math.floor(data.length / (width * channels));
  const samples = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += read(view, (i * channels + c) * width);
    samples[i] = sum / channels;
  }
  return { sampleRate: rate, samples };
}

function readerOf(code: number, bits: number): ((view: DataView, at: number) => number) | undefined {
  if (code === 1) {
    if (bits === 8) return (v, at) => (v.getUint8(at) - 128) / 128;
    if (bits === 16) return (v, at) => v.getInt16(at, true) / 32768;
    if (bits === 24) return (v, at) => (v.getUint16(at, true) + v.getInt8(at + 2) * 65536) / 8388608;
    if (bits === 32) return (v, at) => v.getInt32(at, true) / 2147483648;
  }
  if (code === 3 && bits === 32) return (v, at) => v.getFloat32(at, true);
  if (code === 3 && bits === 64) return (v, at) => v.getFloat64(at, true);
  return undefined;
}

/** Samples as a 16-bit mono WAV file. */
export function encodeWav({ sampleRate, samples }: Sound): Uint8Array {
  const out = new Uint8Array(44 + 2 * samples.length);
  const view = new DataView(out.buffer);
  const tag = (at: number, text: string) => out.set(new TextEncoder().encode(text), at);
  tag(0, 'RIFF');
  view.setUint32(4, 36 + 2 * samples.length, true);
  tag(8, 'WAVEfmt ');
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 2 * sampleRate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  tag(36, 'data');
  view.setUint32(40, 2 * samples.length, true);
  for (const [i, s] of samples.entries()) view.setInt16(44 + 2 * i, Math.max(-32768, Math.min(32767, Math.round(s * 32768))), true);
  return out;
}

const ZERO_CROSSINGS = 16;

/** The sound at another sample rate, by a windowed sinc (Hann, 16 zero crossings) that cuts what the lower rate cannot hold. */
export function resample({ samples, sampleRate }: Sound, rate: number): Sound {
  if (rate === sampleRate) return { samples, sampleRate };
  const ratio = sampleRate / rate;
  const cutoff = Math.min(1, 1 / ratio);
  const reach = ZERO_CROSSINGS / cutoff;
  const out = new Float32Array(Math.max(0, Math.round(samples.length / ratio)));
  for (let i = 0; i < out.length; i++) {
    const center = i * ratio;
    const from = Math.max(0, Math.ceil(center - reach));
    const to = Math.min(samples.length - 1, Math.floor(center + reach));
    let sum = 0;
    for (let k = from; k <= to; k++) {
      const t = k - center;
      const x = Math.PI * t * cutoff;
      const sinc = t === 0 ? 1 : Math.sin(x) / x;
      sum += samples[k]! * sinc * (0.5 + 0.5 * Math.cos((Math.PI * t) / reach));
    }
    out[i] = sum * cutoff;
  }
  return { samples: out, sampleRate: rate };
}
