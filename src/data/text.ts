// Text as data sets: labelled rows through a tokenizer, and running text as windows for language models (labels are the next tokens).
import { dataError } from '../errors.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import type { IndexedDataset } from './dataset.js';
import { indexedDataset } from './indexed.js';
import { batchPlan, modelInputs } from './inputs.js';
import { positionLimit } from './model-hints.js';
import { fixedLength, planTokens, type TokenPlan, tokenFeeds } from './token-inputs.js';
import type { Encoded, TextEncoder } from './tokenizer.js';

const DEFAULT_LENGTH = 512;

export interface TextRow {
  readonly text: string;
  readonly pair?: string | undefined;
  /** Class index or value. */
  readonly label?: number | undefined;
}

export interface TextOptions {
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  /** Tokens per sequence at most; default: what the model's shape, its position table or the tokenizer allows, else 512. */
  readonly maxLength?: number | undefined;
  readonly classes?: readonly string[] | undefined;
  readonly notes?: readonly string[] | undefined;
}

interface Layout {
  readonly plan: TokenPlan;
  /** Set where every sequence must have this length. */
  readonly fixed: number | undefined;
  readonly longest: number;
  readonly fixedBatch: number | undefined;
}

function layoutFor(name: string, model: Model, encoder: TextEncoder, options: TextOptions): Layout {
  const plan = planTokens(modelInputs(model, options.shapes), `text "${name}"`);
  const batching = batchPlan(model);
  const fixed = fixedLength(plan);
  const longest = fixed ?? Math.min(options.maxLength ?? encoder.maxLength ?? DEFAULT_LENGTH, positionLimit(model) ?? DEFAULT_LENGTH);
  return { plan, fixed, longest, fixedBatch: batching.kind === 'rows' ? batching.fixed : 1 };
}

/**
 * Rows of text for a classifier or regressor. Sequences are padded to the model's fixed length, else to the longest of their batch.
 * Throws E_DATA where the model takes no tokens.
 */
export function textDataset(
  name: string,
  rows: readonly TextRow[],
  encoder: TextEncoder,
  model: Model,
  options: TextOptions = {},
): IndexedDataset {
  const { plan, fixed, longest, fixedBatch } = layoutFor(name, model, encoder, options);
  const hasLabels = rows.length > 0 && rows.every((r) => r.label !== undefined);
  const whole = rows.every((r) => Number.isInteger(r.label ?? 0)) && options.classes !== undefined;
  const cache = new Map<number, Encoded>();
  const encodeRow = (i: number): Encoded => {
    const known = cache.get(i);
    if (known) return known;
    const row = rows[i]!;
    const encoded = encoder.encode(row.text, row.pair, longest);
    if (encoded.ids.length === 0) return { ids: [encoder.padId], types: [0] };
    cache.set(i, encoded);
    return encoded;
  };
  const padded = async (indices: readonly number[], atLeast: number) => {
    const encoded = indices.map(encodeRow);
    const length = fixed ?? encoded.reduce((max, e) => Math.max(max, e.ids.length), atLeast);
    return {
      inputs: tokenFeeds(plan, encoded, length, encoder.padId),
      labels: hasLabels
        ? Tensor.from(
            whole ? 'int64' : 'float',
            [indices.length],
            indices.map((i) => rows[i]!.label!),
          )
        : undefined,
      size: indices.length,
    };
  };
  return indexedDataset({
    name,
    size: rows.length,
    hasLabels,
    classes: options.classes,
    notes: options.notes,
    fixedBatch,
    load: (indices) => padded(indices, 1),
    sequences: fixed === undefined ? { lengths: () => rows.map((_, i) => encodeRow(i).ids.length), at: padded } : undefined,
  });
}

/**
 * Running text for a language model: neighbouring windows of the model's context, each with the following tokens as labels [n, tokens].
 * Tokens that fill no whole window are left out. Throws E_DATA for a text of fewer than two tokens.
 */
export function languageDataset(name: string, text: string, encoder: TextEncoder, model: Model, options: TextOptions = {}): IndexedDataset {
  const { plan, fixed, longest, fixedBatch } = layoutFor(name, model, encoder, options);
  const ids = encodeLong(text, encoder);
  const length = fixed ?? Math.min(longest, ids.length - 1);
  const size = length > 0 ? Math.floor((ids.length - 1) / length) : 0;
  if (size < 1)
    throw dataError(`text "${name}": expected at least ${(fixed ?? 1) + 1} tokens, got ${ids.length}`, {
      hint: 'give a longer text, or a model with a shorter or open context',
    });
  const windows = async (indices: readonly number[], shift: number) => {
    const starts = indices.map((i) => Math.min(i * length + shift, ids.length - 1 - length));
    const sequences = starts.map((start) => ({ ids: ids.slice(start, start + length), types: [] }));
    return {
      inputs: tokenFeeds(plan, sequences, length, encoder.padId),
      labels: Tensor.from(
        'int64',
        [indices.length, length],
        starts.flatMap((start) => ids.slice(start + 1, start + 1 + length)),
      ),
      size: indices.length,
    };
  };
  return indexedDataset({
    name,
    size,
    hasLabels: true,
    notes: options.notes,
    fixedBatch,
    load: (indices) => windows(indices, 0),
    windows: { length, at: windows },
  });
}

/** Long texts go through the tokenizer in pieces cut at line ends, so that no step is quadratic in the whole. */
function encodeLong(text: string, encoder: TextEncoder): number[] {
  if (encoder.kind === 'characters') return encoder.encodePlain(text);
  const ids: number[] = [];
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start + 16_384);
    const end = newline < 0 ? text.length : newline + 1;
    for (const id of encoder.encodePlain(text.slice(start, end))) ids.push(id);
    start = end;
  }
  return ids;
}

/** True where the model answers for every token (logits [batch, tokens, vocabulary]): running text then suits it. */
export function isLanguageModel(model: Model): boolean {
  const output = model.graph.outputs.find((o) => /logits/i.test(o.name)) ?? model.graph.outputs[0];
  const shape = tensorTypeOf(output)?.shape;
  return shape == null ? true : shape.length === 3;
}
