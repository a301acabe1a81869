// A package in Hugging Face layout for tests: small random models, a word-piece tokenizer of its own, and the configuration of a text classifier.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Model } from '../../src/ir/model.js';
import { encodeModel } from '../../src/onnx/encode.js';
import { VOCABULARY } from '../samples/variant-models.js';

const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
const LETTERS = 'abcdefghijklmnopqrstuvwxyz';

function tokenizer(): unknown {
  const pieces = [...SPECIAL, ...LETTERS, ...[...LETTERS].map((c) => `##${c}`), 'good', 'bad'].slice(0, VOCABULARY);
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: null,
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
    },
  };
}

export const CLASSIFIER_CONFIG = {
  model_type: 'bert',
  architectures: ['BertForSequenceClassification'],
  hidden_size: 64,
  num_attention_heads: 4,
  num_hidden_layers: 1,
  vocab_size: VOCABULARY,
  problem_type: 'single_label_classification',
  id2label: { 0: 'NEGATIVE', 1: 'POSITIVE' },
  label2id: { NEGATIVE: 0, POSITIVE: 1 },
};

/** Writes the package; `models` by path. */
export function writePackage(folder: string, models: Readonly<Record<string, Model>>, config: unknown = CLASSIFIER_CONFIG): void {
  const write = (path: string, data: string | Uint8Array) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), data);
  };
  for (const [path, model] of Object.entries(models)) write(path, encodeModel(model).bytes);
  write('config.json', JSON.stringify(config));
  write('tokenizer.json', JSON.stringify(tokenizer()));
  write(
    'tokenizer_config.json',
    JSON.stringify({ tokenizer_class: 'BertTokenizer', do_lower_case: true, model_max_length: 64, pad_token: '[PAD]', unk_token: '[UNK]' }),
  );
  write('README.md', '# A model\n\nWords of its author.\n');
}
