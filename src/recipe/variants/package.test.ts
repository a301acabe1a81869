import { describe, expect, test } from 'vitest';
import { replaceSection } from './card.js';
import { findSessions, namesConform, updateConfig, variantPath } from './package.js';

const files = (...paths: string[]) => paths.map((path) => ({ path, bytes: 1 }));
const none = { dataFiles: {}, written: [], dtype: {} };

describe('sessions', () => {
  test('are the models in onnx/ that are no variant of another', () => {
    const found = findSessions(
      files('onnx/decoder_model_merged.onnx', 'onnx/encoder_model.onnx', 'onnx/encoder_model_q4f16.onnx', 'onnx/sub/x.onnx', 'other.onnx'),
    );
    expect(found.map((s) => s.name)).toEqual(['decoder_model_merged', 'encoder_model']);
  });

  test('at the top where there is no folder; a suffix alone makes no variant', () => {
    expect(findSessions(files('model_int8.onnx', 'config.json'))).toEqual([{ name: 'model_int8', path: 'model_int8.onnx' }]);
    expect(() => findSessions(files('config.json'))).toThrow('expected at least one .onnx file');
  });

  test('file names', () => {
    expect(variantPath('model', 'q8')).toBe('onnx/model_quantized.onnx');
    expect(variantPath('model', 'fp32')).toBe('onnx/model.onnx');
    expect(namesConform('onnx/model.onnx', ['onnx/model.onnx_data', 'onnx/model.onnx_data_1'])).toBe(true);
    expect(namesConform('onnx/model.onnx', ['onnx/model.onnx.data'])).toBe(false);
    expect(namesConform('onnx/model.onnx', [])).toBe(true);
  });
});

describe('configuration', () => {
  test('counts data files by file and keeps what else is there', () => {
    const before = { a: 1, 'transformers.js_config': { device: 'webgpu', use_external_data_format: { 'model.onnx': 2, 'old.onnx': 1 } } };
    const after = updateConfig(before, {
      ...none,
      dataFiles: { 'model.onnx': 0, 'model_q4.onnx': 1 },
      written: ['model.onnx', 'model_q4.onnx'],
    });
    expect(after).toEqual({
      a: 1,
      'transformers.js_config': { device: 'webgpu', use_external_data_format: { 'old.onnx': 1, 'model_q4.onnx': 1 } },
    });
  });

  test('a count that held for every file is dropped, since variants are smaller', () => {
    expect(updateConfig({ 'transformers.js_config': { use_external_data_format: true } }, none)).toEqual({ 'transformers.js_config': {} });
  });

  test('one default for all sessions, or one each', () => {
    expect(updateConfig({}, { ...none, dtype: { a: 'q4', b: 'q4' } })).toEqual({ 'transformers.js_config': { dtype: 'q4' } });
    expect(updateConfig({}, { ...none, dtype: { a: 'q4', b: 'fp16' } })).toEqual({
      'transformers.js_config': { dtype: { a: 'q4', b: 'fp16' } },
    });
  });
});

test('the section of the card is put at the end once, then replaced', () => {
  const first = replaceSection('# Card\n', 'one');
  expect(first).toBe('# Card\n\n<!-- pare:variants:start -->\none\n<!-- pare:variants:end -->\n');
  expect(replaceSection(`${first}after\n`, 'two')).toBe('# Card\n\n<!-- pare:variants:start -->\ntwo\n<!-- pare:variants:end -->\nafter\n');
  expect(replaceSection('', 'one')).toBe('<!-- pare:variants:start -->\none\n<!-- pare:variants:end -->\n');
});
