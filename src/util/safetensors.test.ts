import { expect, test } from 'vitest';
import { decodeSafeTensors, encodeSafeTensors } from './safetensors.js';

const file = {
  metadata: { format: 'x', rank: '2' },
  arrays: new Map([
    ['a', { dims: [2, 3], data: Float32Array.of(1, -2, 3, 4.5, 5, 6) }],
    ['empty', { dims: [0, 4], data: new Float32Array(0) }],
    ['b', { dims: [], data: Float32Array.of(7) }],
  ]),
};

test('what is written is read, from any place in memory', () => {
  const bytes = encodeSafeTensors(file);
  const moved = new Uint8Array(bytes.length + 3);
  moved.set(bytes, 3);
  for (const b of [bytes, moved.subarray(3), Buffer.from(bytes)]) expect(decodeSafeTensors(b)).toEqual(file);
});

test('damage is named', () => {
  const bytes = encodeSafeTensors(file);
  expect(() => decodeSafeTensors(bytes.subarray(0, 5))).toThrow('at least 8 bytes');
  expect(() => decodeSafeTensors(bytes.subarray(0, 30))).toThrow('expected a header of');
  expect(() => decodeSafeTensors(bytes.subarray(0, bytes.length - 4), 'adapter x')).toThrow('adapter x: array "b": expected 4 bytes');
  const text = new TextDecoder('latin1').decode(bytes);
  expect(() => decodeSafeTensors(Uint8Array.from(text.replace('F32', 'F16'), (c) => c.charCodeAt(0)))).toThrow('expected F32, got F16');
  expect(() => decodeSafeTensors(new Uint8Array(64))).toThrow('expected a header in JSON');
});
