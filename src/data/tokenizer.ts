// Texts to token ids: a Hugging Face tokenizer.json, or a plain vocabulary (array of tokens in id order, or an object token to id) read character
// by character. Truncation keeps the special tokens around the text, and cuts the longer text of a pair first.
import { Tokenizer } from '@huggingface/tokenizers';
import { dataError, formatError } from '../errors.js';

export interface Encoded {
  readonly ids: readonly number[];
  /** 0 for the first text and its special tokens, 1 for the second. */
  readonly types: readonly number[];
}

export interface TextEncoder {
  readonly kind: 'tokenizer' | 'characters';
  readonly vocabulary: number;
  readonly padId: number;
  /** Longest sequence the tokenizer itself asks for. */
  readonly maxLength: number | undefined;
  /** With special tokens, at most `maxLength` ids. */
  encode(text: string, pair: string | undefined, maxLength: number): Encoded;
  /** Without special tokens and without a limit: for language models. */
  encodePlain(text: string): number[];
}

/** Reads either kind from parsed JSON. Throws E_FORMAT where it is neither. */
export function textEncoderFrom(json: unknown, file = 'tokenizer.json'): TextEncoder {
  if (Array.isArray(json) && json.every((t) => typeof t === 'string')) return characterEncoder(new Map(json.map((t, i) => [t, i])), file);
  if (typeof json === 'object' && json !== null) {
    const entries = Object.entries(json);
    if (entries.length > 0 && entries.every(([, id]) => Number.isInteger(id)))
      return characterEncoder(new Map(entries as [string, number][]), file);
    if ('model' in json) return huggingFaceEncoder(json as TokenizerJson, file);
  }
  throw formatError('tokenizer: expected a Hugging Face tokenizer.json, an array of tokens or an object token to id, got something else', {
    place: { file },
  });
}

function characterEncoder(vocabulary: ReadonlyMap<string, number>, file: string): TextEncoder {
  const unknown = ['<unk>', '[UNK]', '<UNK>'].map((t) => vocabulary.get(t)).find((id) => id !== undefined);
  const encodePlain = (text: string) =>
    Array.from(text, (char) => {
      const id = vocabulary.get(char) ?? unknown;
      if (id === undefined)
        throw dataError(
          `character ${JSON.stringify(char)} (U+${char.codePointAt(0)!.toString(16)}): expected one of the ${vocabulary.size} of the vocabulary`,
          {
            place: { file },
            hint: 'take the vocabulary that the model was trained with',
          },
        );
      return id;
    });
  return {
    kind: 'characters',
    vocabulary: Math.max(...vocabulary.values()) + 1,
    padId: vocabulary.get('<pad>') ?? 0,
    maxLength: undefined,
    encodePlain,
    encode(text, pair, maxLength) {
      const ids = encodePlain(pair === undefined ? text : `${text}${pair}`).slice(0, maxLength);
      return { ids, types: ids.map(() => 0) };
    },
  };
}

interface TokenizerJson {
  readonly truncation?: { readonly max_length?: number } | null;
  readonly padding?: { readonly pad_id?: number } | null;
}

function huggingFaceEncoder(json: TokenizerJson, file: string): TextEncoder {
  let tokenizer: Tokenizer;
  try {
    tokenizer = new Tokenizer(json, {});
  } catch (cause) {
    throw formatError(`tokenizer.json: ${cause instanceof Error ? cause.message : String(cause)}`, { place: { file }, cause });
  }
  const plain = (text: string) => tokenizer.encode(text, { add_special_tokens: false }).ids;
  const padId =
    json.padding?.pad_id ??
    ['[PAD]', '<pad>', '<|endoftext|>', '</s>'].map((t) => tokenizer.token_to_id(t)).find((id) => id !== undefined) ??
    0;
  return {
    kind: 'tokenizer',
    vocabulary: Math.max(...tokenizer.get_vocab().values()) + 1,
    padId,
    maxLength: json.truncation?.max_length,
    encodePlain: plain,
    encode(text, pair, maxLength) {
      const full = tokenizer.encode(text, { text_pair: pair ?? null, return_token_type_ids: true });
      const encoded = { ids: full.ids, types: full.token_type_ids ?? full.ids.map(() => 0) };
      return encoded.ids.length <= maxLength
        ? encoded
        : truncate(encoded, plain(text), pair === undefined ? undefined : plain(pair), maxLength);
    },
  };
}

/** Takes ids off the end of the texts inside `full` until it fits. */
function truncate(full: Encoded, first: readonly number[], second: readonly number[] | undefined, maxLength: number): Encoded {
  const a = find(full.ids, first, 0);
  const b = second === undefined ? undefined : find(full.ids, second, a + first.length);
  if (a < 0 || b === -1) return { ids: full.ids.slice(0, maxLength), types: full.types.slice(0, maxLength) };
  let [keepA, keepB] = [first.length, second?.length ?? 0];
  for (let over = full.ids.length - maxLength; over > 0 && keepA + keepB > 0; over--) {
    if (keepA > keepB) keepA--;
    else keepB--;
  }
  const dropped = (i: number) => (i >= a + keepA && i < a + first.length) || (b !== undefined && i >= b + keepB && i < b + second!.length);
  const kept = full.ids.map((_, i) => i).filter((i) => !dropped(i));
  return { ids: kept.map((i) => full.ids[i]!).slice(0, maxLength), types: kept.map((i) => full.types[i]!).slice(0, maxLength) };
}

function find(ids: readonly number[], part: readonly number[], from: number): number {
  for (let at = from; at + part.length <= ids.length; at++) if (part.every((id, k) => ids[at + k] === id)) return at;
  return -1;
}
