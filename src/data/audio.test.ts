// WAV files, resampling, log-mel features against the plain transform, and sounds as data sets.
import { describe, expect, it } from 'vitest';
import { PareError } from '../errors.js';
import { buildModel } from '../ir/builder.js';
import type { Shape } from '../ir/type.js';
import { audioDataset, parseAudioSettings, soundWindows, windowLength } from './audio.js';
import { fftInPlace, frameCount, type MelSettings, melExtractor, melFilters } from './mel.js';
import { encodeWav, parseWav, resample, type Sound } from './wav.js';

const tone = (sampleRate: number, hertz: number, count: number): Sound => ({
  sampleRate,
  samples: Float32Array.from({ length: count }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hertz * i) / sampleRate)),
});

/** A WAV file around raw sample bytes. */
function wav(code: number, bits: number, channels: number, data: Uint8Array, declared = data.length): Uint8Array {
  const out = new Uint8Array(44 + data.length);
  out.set(encodeWav({ sampleRate: 8000, samples: new Float32Array(0) }).subarray(0, 44));
  const view = new DataView(out.buffer);
  view.setUint16(20, code, true);
  view.setUint16(22, channels, true);
  view.setUint16(34, bits, true);
  view.setUint32(40, declared, true);
  out.set(data, 44);
  return out;
}
const samplesOf = (...args: Parameters<typeof wav>) => [...parseWav(wav(...args)).samples];
const raw = (array: ArrayBufferView) => new Uint8Array(array.buffer as ArrayBuffer);

describe('WAV', () => {
  it('reads every sample format and mixes channels', () => {
    expect(samplesOf(1, 8, 1, Uint8Array.of(128, 192, 0))).toEqual([0, 0.5, -1]);
    expect(samplesOf(1, 16, 2, raw(Int16Array.of(16384, 0, -32768, -32768)))).toEqual([0.25, -1]);
    expect(samplesOf(1, 24, 1, Uint8Array.of(0, 0, 0x40, 0, 0, 0x80))).toEqual([0.5, -1]);
    expect(samplesOf(1, 32, 1, raw(Int32Array.of(2 ** 30)))).toEqual([0.5]);
    expect(samplesOf(3, 32, 1, raw(Float32Array.of(0.25)))).toEqual([0.25]);
    expect(samplesOf(3, 64, 1, raw(Float64Array.of(-0.75)))).toEqual([-0.75]);
    const sound = tone(8000, 440, 100);
    expect(parseWav(encodeWav(sound)).samples[3]).toBeCloseTo(sound.samples[3]!, 4);
  });

  it('reads streams of open length and refuses damage', () => {
    expect(samplesOf(1, 8, 1, Uint8Array.of(255), 0xffffffff)).toHaveLength(1);
    expect(() => parseWav(wav(1, 8, 1, Uint8Array.of(1, 2), 9), 'x.wav')).toThrow(/expected 9 bytes of samples, got 2/);
    expect(() => parseWav(wav(2, 4, 1, Uint8Array.of(1)))).toThrow(/format 2 with 4 bits/);
    expect(() => parseWav(wav(1, 16, 0, Uint8Array.of(1)))).toThrow(PareError);
    const whole = encodeWav(tone(8000, 440, 20));
    for (let end = 0; end < whole.length; end++) expect(() => parseWav(whole.slice(0, end))).toThrow(PareError);
  });

  it('resamples without changing the tone', () => {
    const down = resample(tone(16000, 500, 1600), 8000);
    const expected = tone(8000, 500, 800);
    for (let i = 100; i < 700; i++) expect(down.samples[i]).toBeCloseTo(expected.samples[i]!, 2);
    // A tone above half the new rate is cut.
    const cut = resample(tone(16000, 6000, 1600), 8000);
    expect(Math.max(...cut.samples.subarray(100, 700).map(Math.abs))).toBeLessThan(0.01);
  });
});

describe('log-mel', () => {
  const settings: MelSettings = {
    sampleRate: 8000,
    window: 16,
    fft: 16,
    hop: 8,
    mels: 4,
    fmin: 0,
    fmax: 4000,
    scale: 'htk',
    norm: 'none',
    power: 2,
    log: 'natural',
    floor: 1e-6,
    center: false,
  };

  it('transforms as the definition does', () => {
    const x = Float64Array.from({ length: 16 }, (_, i) => Math.sin(i * 1.3) + 0.2 * i);
    const [re, im] = [x.slice(), new Float64Array(16)];
    fftInPlace(re, im);
    for (let k = 0; k < 16; k++) {
      let [a, b] = [0, 0];
      for (let i = 0; i < 16; i++) {
        a += x[i]! * Math.cos((-2 * Math.PI * k * i) / 16);
        b += x[i]! * Math.sin((-2 * Math.PI * k * i) / 16);
      }
      expect([re[k], im[k]]).toEqual([expect.closeTo(a, 9), expect.closeTo(b, 9)]);
    }
  });

  it('has triangular filters that cover the range once', () => {
    const filters = melFilters({ ...settings, fft: 512, mels: 8 });
    // Between the first and the last peak, neighbouring unit triangles sum to one.
    for (let bin = 40; bin < 180; bin++) {
      let sum = 0;
      for (let m = 0; m < 8; m++) sum += filters[m * 257 + bin]!;
      expect(sum).toBeCloseTo(1, 5);
    }
    const slaney = melFilters({ ...settings, fft: 512, mels: 8, scale: 'slaney', norm: 'slaney' });
    expect(Math.max(...slaney)).toBeLessThan(0.01);
  });

  it('puts a tone into the filter that holds it', () => {
    const at = (hertz: number) => {
      const { frames, features } = melExtractor({ ...settings, window: 256, fft: 256, hop: 128, mels: 20 })(tone(8000, hertz, 512).samples);
      expect(frames).toBe(3);
      const row = [...features.subarray(20, 40)];
      return row.indexOf(Math.max(...row));
    };
    expect(at(300)).toBeLessThan(at(1000));
    expect(at(1000)).toBeLessThan(at(3000));
    expect(frameCount(512, { ...settings, window: 256, hop: 128, center: true })).toBe(5);
  });
});

describe('sounds as data', () => {
  const model = (shape: Shape, ...more: [string, 'float' | 'int64', Shape][]) =>
    buildModel('m', (b) => {
      b.output(b.op('Relu', [b.input('x', 'float', shape)]));
      for (const [name, dtype, dims] of more) b.output(b.op('Identity', [b.input(name, dtype, dims)], {}, { outputs: [`${name}_out`] }));
    });
  const source = { name: 's', size: 2, labels: [3, 1], read: (i: number) => tone(8000, 440, i === 0 ? 100 : 60) };
  const mel = { kind: 'logmel', sampleRate: 8000, window: 32, hop: 16, mels: 4 };

  it('pads waveforms to the model or to the longest', async () => {
    const wave = parseAudioSettings({ kind: 'waveform' });
    const open = await audioDataset(source, model(['N', 'T']), wave).at([0, 1]);
    expect([open.inputs.x!.dims, open.labels!.bigints()]).toEqual([
      [2, 100],
      [3n, 1n],
    ]);
    expect(open.inputs.x!.floats()[199]).toBe(0);
    const fixed = audioDataset(source, model([1, 1, 80]), wave);
    expect([fixed.fixedBatch, (await fixed.at([0])).inputs.x!.dims]).toEqual([1, [1, 1, 80]]);
    const slow = audioDataset(source, model(['N', 'T']), parseAudioSettings({ kind: 'waveform', sampleRate: 4000 }));
    expect((await slow.at([0])).inputs.x!.dims).toEqual([1, 50]);
  });

  it('lays features out as the model asks', async () => {
    const dims = async (shape: Shape, json: object = mel) =>
      (await audioDataset(source, model(shape), parseAudioSettings(json)).at([0, 1])).inputs.x!.dims;
    expect(await dims(['N', 'F', 4])).toEqual([2, 5, 4]);
    expect(await dims(['N', 4, 'F'])).toEqual([2, 4, 5]);
    expect(await dims(['N', 1, 9, 4])).toEqual([2, 1, 9, 4]);
    expect(await dims(['N', 28])).toEqual([2, 28]);
    await expect(dims(['N', 30])).rejects.toThrow(/"x" float\[N,30\]: got sounds as float\[N,5,4\]/);
  });

  it('feeds sample rate and state beside the sound, window by window', async () => {
    const vad = model(['b', 40], ['state', 'float', [2, 'b', 8]], ['sr', 'int64', []]);
    const settings = parseAudioSettings({ kind: 'waveform' });
    expect(windowLength(vad, settings)).toBe(40);
    const data = audioDataset(soundWindows('s', tone(8000, 440, 100), 40), vad, settings);
    const { inputs } = await data.at([1]);
    expect([data.size, inputs.x!.dims, inputs.state!.dims, inputs.sr!.bigints()]).toEqual([2, [1, 40], [2, 1, 8], [8000n]]);
  });

  it('names wrong settings', () => {
    expect(() => parseAudioSettings({ kind: 'logmel', window: 3 }, 'p.json')).toThrow(/p\.json: /);
    expect(() => parseAudioSettings({ ...mel, fft: 48 }, 'p.json')).toThrow(/power of two/);
    expect(() => audioDataset(source, model(['N', 4], ['y', 'float', ['N', 4]]), parseAudioSettings({ kind: 'waveform' }))).toThrow(
      /one float input/,
    );
  });
});
