// Samples of the string operators.
import type { OpSample } from '../op-sample.js';

export const SAMPLES: readonly OpSample[] = [
  {
    op: 'StringNormalizer',
    inputs: [{ dtype: 'string', dims: [3], strings: ['One', 'the', 'Two'] }],
    attributes: { case_change_action: 'NONE', is_case_sensitive: 1 },
  },
  {
    op: 'StringNormalizer',
    label: 'stop words',
    dataDependent: true,
    inputs: [{ dtype: 'string', dims: [3], strings: ['one', 'the', 'two'] }],
    attributes: { stopwords: ['the'], is_case_sensitive: 1 },
  },
  {
    op: 'StringConcat',
    inputs: [
      { dtype: 'string', dims: [2, 3] },
      { dtype: 'string', dims: [3] },
    ],
  },
  {
    op: 'StringSplit',
    dataDependent: true,
    outputs: 2,
    inputs: [{ dtype: 'string', dims: [2], strings: ['a b c', 'd e'] }],
    attributes: { delimiter: ' ' },
  },
  { op: 'RegexFullMatch', inputs: [{ dtype: 'string', dims: [2, 2] }], attributes: { pattern: '[ab]' } },
  {
    op: 'TfIdfVectorizer',
    inputs: [{ dtype: 'int32', dims: [2, 6], values: [1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8] }],
    attributes: {
      mode: 'TF',
      min_gram_length: 2,
      max_gram_length: 2,
      max_skip_count: 0,
      ngram_counts: [0, 4],
      ngram_indexes: [0, 1, 2, 3, 4, 5, 6],
      pool_int64s: [2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
    },
  },
];
