// Tables, tokenizers and text data sets.
import { describe, expect, it } from 'vitest';
import { buildModel } from '../ir/builder.js';
import { Tensor } from '../ir/tensor.js';
import { indexLimit, positionLimit } from './model-hints.js';
import { parseCsv, parseLines, parseTable } from './table.js';
import { languageDataset, textDataset } from './text.js';
import { textEncoderFrom } from './tokenizer.js';

const WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'a', 'good', 'bad', 'film', 'very'];
const TOKENIZER = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: WORDS.slice(0, 4).map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: { type: 'Lowercase' },
  pre_tokenizer: { type: 'Whitespace' },
  post_processor: {
    type: 'TemplateProcessing',
    single: [
      { SpecialToken: { id: '[CLS]', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
      { SpecialToken: { id: '[SEP]', type_id: 0 } },
    ],
    pair: [
      { SpecialToken: { id: '[CLS]', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
      { SpecialToken: { id: '[SEP]', type_id: 0 } },
      { Sequence: { id: 'B', type_id: 1 } },
      { SpecialToken: { id: '[SEP]', type_id: 1 } },
    ],
    special_tokens: {
      '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] },
      '[SEP]': { id: '[SEP]', ids: [3], tokens: ['[SEP]'] },
    },
  },
  decoder: null,
  model: { type: 'WordLevel', vocab: Object.fromEntries(WORDS.map((w, i) => [w, i])), unk_token: '[UNK]' },
};

/** A classifier with a table of 9 words and positions up to 8. */
const classifier = (batch: number | string = 'batch', sequence: number | string = 'sequence') =>
  buildModel('m', (b) => {
    const ids = b.input('input_ids', 'int64', [batch, sequence]);
    const mask = b.input('attention_mask', 'int32', [batch, sequence]);
    const types = b.input('token_type_ids', 'int64', [batch, sequence]);
    const words = b.op('Gather', [b.constant('words', Tensor.from('float', [9, 2], new Float32Array(18))), b.op('Cast', [ids], { to: 7 })]);
    const places = b.op('Gather', [
      b.constant('position_embeddings.weight', Tensor.from('float', [8, 2], new Float32Array(16))),
      b.ints('range', [0]),
    ]);
    b.output(b.op('Add', [words, places]), 'logits');
    b.output(b.op('Cast', [mask], { to: 1 }), 'm');
    b.output(b.op('Cast', [types], { to: 1 }), 't');
  });

describe('tables', () => {
  it('reads quoted CSV', () => {
    expect(parseCsv('a,"b, ""c""\nd",\r\n"",e,f', 'x')).toEqual([
      ['a', 'b, "c"\nd', ''],
      ['', 'e', 'f'],
    ]);
    expect(() => parseCsv('a,"b', 'x')).toThrow(/closing quote/);
  });

  it('finds columns by header, by position and by look', () => {
    const sst = parseTable('sentence\tlabel\nit \'s "fine"\t1\nbleak\t0\n', 'tsv', 'x.tsv');
    expect(sst.rows).toEqual([
      { text: 'it \'s "fine"', pair: undefined, label: 1 },
      { text: 'bleak', pair: undefined, label: 0 },
    ]);
    expect(sst.classes).toEqual(['0', '1']);
    const pairs = parseTable('A man.,A person.,4.75\nX,Y,0.5\n', 'csv', 'x.csv');
    expect([pairs.rows[0], pairs.classes]).toEqual([{ text: 'A man.', pair: 'A person.', label: 4.75 }, undefined]);
    const named = parseTable('id,body,kind\n1,hello,spam\n2,bye,ham\n', 'csv', 'x.csv', { text: 'body', label: 'kind' });
    expect([named.rows.map((r) => r.label), named.classes]).toEqual([
      [1, 0],
      ['ham', 'spam'],
    ]);
    const placed = parseTable('spam\thello\nham\tbye\n', 'tsv', 'x.tsv', { text: '2', label: '1', classes: ['spam', 'ham'] });
    expect(placed.rows.map((r) => [r.text, r.label])).toEqual([
      ['hello', 0],
      ['bye', 1],
    ]);
    const json = parseTable('{"text":"a","label":2}\n{"label":0,"text":"b"}\n', 'jsonl', 'x.jsonl');
    expect(json.rows.map((r) => [r.text, r.label])).toEqual([
      ['a', 2],
      ['b', 0],
    ]);
  });

  it('reads lines with labels in front', () => {
    const trec = parseLines('NUM:dist How far ?\nLOC:city Where ?\nNUM:date When ?\n', 'trec.txt');
    expect([trec.rows.map((r) => r.label), trec.classes, trec.rows[0]!.text]).toEqual([[1, 0, 1], ['LOC', 'NUM'], 'How far ?']);
    expect(parseLines('one\ntwo\n', 'x').rows).toEqual([{ text: 'one' }, { text: 'two' }]);
  });

  it('names the columns that are there', () => {
    expect(() => parseTable('a,b\n1,2\n', 'csv', 'x.csv', { text: 'c' })).toThrow(/--text c: expected a column of "x.csv": a, b, got "c"/);
    expect(() => parseTable('text,label\na,x\nb\n', 'csv', 'x.csv')).toThrow(/row 2: expected at least 2 columns, got 1/);
    expect(() => parseTable('', 'tsv', 'x.tsv')).toThrow(/empty file/);
    expect(() => parseTable('{"a":1}\n[3]\n', 'jsonl', 'x.jsonl')).toThrow(/line 2/);
    expect(() => parseTable('text,label\na,z\n', 'csv', 'x.csv', { classes: ['x', 'y'] })).toThrow(/label of the 2 classes, got "z"/);
  });
});

describe('tokenizers', () => {
  const encoder = textEncoderFrom(TOKENIZER);

  it('encodes texts and pairs, and truncates inside the special tokens', () => {
    expect(encoder.encode('A good film', undefined, 9).ids).toEqual([2, 4, 5, 7, 3]);
    expect(encoder.encode('a very very good film', undefined, 5)).toEqual({ ids: [2, 4, 8, 8, 3], types: [0, 0, 0, 0, 0] });
    expect(encoder.encode('a very good film', 'bad film', 7)).toEqual({ ids: [2, 4, 8, 3, 6, 7, 3], types: [0, 0, 0, 0, 1, 1, 1] });
    expect([encoder.padId, encoder.vocabulary]).toEqual([0, 9]);
  });

  it('reads character vocabularies and names what is missing', () => {
    const characters = textEncoderFrom(['\n', 'a', 'b']);
    expect(characters.encodePlain('ab\n')).toEqual([1, 2, 0]);
    expect(() => characters.encodePlain('ac')).toThrow(/"c" \(U\+63\)/);
    expect(textEncoderFrom({ a: 1, b: 0 }).encodePlain('ab')).toEqual([1, 0]);
    expect(() => textEncoderFrom({ hello: 'x' }, 'v.json')).toThrow(/expected a Hugging Face tokenizer.json/);
    expect(() => textEncoderFrom({ model: { type: 'Nonsense' } }, 'v.json')).toThrow(/E_FORMAT|tokenizer.json/);
  });
});

describe('text data sets', () => {
  const encoder = textEncoderFrom(TOKENIZER);
  const rows = [
    { text: 'good film', label: 1 },
    { text: 'a very very very very very very bad film', label: 0 },
  ];

  it('fills the inputs by name and type, padded to the longest or to the fixed length', async () => {
    const data = textDataset('t', rows, encoder, classifier(), { classes: ['0', '1'] });
    const { inputs, labels } = await data.at([0, 1]);
    expect(inputs.input_ids!.dims).toEqual([2, 8]);
    expect(inputs.input_ids!.bigints().slice(0, 8).map(Number)).toEqual([2, 5, 7, 3, 0, 0, 0, 0]);
    expect([inputs.attention_mask!.dtype, Array.from(inputs.attention_mask!.numbers()).slice(0, 8)]).toEqual([
      'int32',
      [1, 1, 1, 1, 0, 0, 0, 0],
    ]);
    expect(Array.from(inputs.token_type_ids!.numbers())).toEqual(new Array(16).fill(0));
    expect([labels!.dtype, labels!.bigints()]).toEqual(['int64', [1n, 0n]]);
    const fixed = textDataset('t', rows, encoder, classifier(1, 6));
    expect([fixed.fixedBatch, (await fixed.at([0])).inputs.input_ids!.dims]).toEqual([1, [1, 6]]);
    const given = textDataset('t', rows, encoder, classifier(), { shapes: { input_ids: [1, 5] } });
    expect((await given.at([1])).inputs.attention_mask!.dims).toEqual([1, 5]);
  });

  it('reads limits off the graph', () => {
    const model = classifier();
    expect(positionLimit(model)).toBe(8);
    expect(indexLimit(model.graph.inputs[0]!)).toBe(9);
  });

  it('cuts running text into windows with the next tokens as labels', async () => {
    const model = buildModel('lm', (b) => {
      b.output(b.op('Cast', [b.input('input_ids', 'int64', ['b', 's'])], { to: 1 }), 'logits');
    });
    const data = languageDataset('t', 'abbaabab', textEncoderFrom(['a', 'b']), model, { shapes: { input_ids: [1, 3] } });
    expect(data.size).toBe(2);
    const { inputs, labels } = await data.at([0, 1]);
    expect(inputs.input_ids!.bigints().map(Number)).toEqual([0, 1, 1, 0, 0, 1]);
    expect([labels!.dims, labels!.bigints().map(Number)]).toEqual([
      [2, 3],
      [1, 1, 0, 0, 1, 0],
    ]);
    expect(() => languageDataset('t', 'a', textEncoderFrom(['a']), model)).toThrow(/at least 2 tokens, got 1/);
  });

  it('refuses models that take no tokens', () => {
    const model = buildModel('m', (b) => {
      b.output(b.op('Relu', [b.input('x', 'float', ['N', 3])]));
    });
    expect(() => textDataset('t', rows, encoder, model)).toThrow(/takes token ids.*"x" float\[N,3\]/);
  });
});
