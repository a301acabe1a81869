// Bars of a recurrent model with its LSTM inside If: voice activity on real speech, the state carried from frame to frame, so that errors add up as in
// use: a frame of 512 samples at a time, one recording and two side by side, loud and quiet.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tensor, walkNodes } from '../../dist/index.js';
import { nodeEngine, readModel } from '../../dist/node/index.js';
import { atLeast, atMost, figure, wanted } from '../lib/bars.js';
import { pareJson, shared, WORK } from '../lib/pare.js';

const RATE = 16000;
const FRAME = 512;
/** Samples of the frame before that the model wants in front of each. */
const CONTEXT = 64;
const SPEECH = 0.5;

/** Samples of a 16-bit mono .wav whose data chunk starts at byte 44. */
function samplesOf(file) {
  const bytes = readFileSync(file);
  const size = bytes.readUInt32LE(40);
  return Float32Array.from({ length: size / 2 }, (_, i) => bytes.readInt16LE(44 + 2 * i) / 32768);
}

/** Probability of speech for each frame of each recording; `batch` recordings at once. */
async function probabilities(engine, path, recordings) {
  const session = await engine.load({ path }, { threads: 1 });
  const batch = recordings.length;
  const sr = Tensor.from('int64', [], [RATE]);
  let state = Tensor.of('float', [2, batch, 128], new Float32Array(2 * batch * 128));
  let input = new Float32Array(batch * (CONTEXT + FRAME));
  const found = [];
  for (let at = 0; at + FRAME <= recordings[0].length; at += FRAME) {
    const next = new Float32Array(input.length);
    recordings.forEach((samples, r) => {
      const start = r * (CONTEXT + FRAME);
      next.set(input.subarray(start + FRAME, start + FRAME + CONTEXT), start);
      next.set(samples.subarray(at, at + FRAME), start + CONTEXT);
    });
    input = next;
    const answer = await session.run({ input: Tensor.of('float', [batch, CONTEXT + FRAME], input), state, sr });
    state = answer.stateN;
    found.push(...answer.output.floats());
  }
  await session.release();
  return found;
}

const equal = (a, b) => a.filter((p, i) => p > SPEECH === b[i] > SPEECH).length / a.length;

export async function recurrentBars() {
  if (!wanted('silero')) return;
  const file = shared('silero-vad/silero_vad_16k_op15.onnx');
  const engine = await nodeEngine();
  const speech = samplesOf(shared('speech-vad/test_20s.wav'));
  const half = speech.length / 2;
  const takes = {
    decisions: [speech],
    // Two recordings side by side.
    batch: [speech.subarray(0, half), speech.subarray(half)],
    // Quieter speech lies nearer the threshold.
    quiet: [speech.map((s) => s / 4)],
  };
  const float = {};
  for (const [name, recordings] of Object.entries(takes)) float[name] = await probabilities(engine, file, recordings);
  figure('  silero: frames, of them speech', `${float.decisions.length}, ${float.decisions.filter((p) => p > SPEECH).length}`);
  const quantized = join(WORK, 'silero.onnx');
  const { input, output } = pareJson('quantize', file, '-o', quantized, '--mode', 'dynamic');
  const operators = [...walkNodes((await readModel(quantized)).graph)].map((n) => n.opType);
  // The file has an LSTM in each branch of an If over the rank of its state; the rank is declared, so simplifying leaves the branch that runs.
  figure(
    '  silero: DynamicQuantizeLSTM, LSTM left',
    ['DynamicQuantizeLSTM', 'LSTM'].map((op) => operators.filter((o) => o === op).length),
  );
  for (const [name, recordings] of Object.entries(takes)) {
    atLeast(`silero-${name}`, 100 * equal(float[name], await probabilities(engine, quantized, recordings)), 99.5, '% of frames');
  }
  atMost('silero-bytes', (100 * output.bytes) / input.bytes, 40, '% of the float');
}
