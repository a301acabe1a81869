// Token sequences as the inputs that text models ask for by name: ids, attention mask, token types, positions, and an empty key-value cache.
import { dataError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import { Tensor } from '../ir/tensor.js';
import { describeInput, type ModelInput } from './inputs.js';
import type { Encoded } from './tokenizer.js';

export type TokenRole = 'ids' | 'mask' | 'types' | 'positions' | 'cache' | 'cache-flag';

/** What an input is for, by the names that exporters give. */
export function roleOf(input: ModelInput): TokenRole | undefined {
  if (/past|cache|key_values/i.test(input.name)) return input.dtype === 'bool' ? 'cache-flag' : 'cache';
  if (/mask/i.test(input.name)) return 'mask';
  if (/token_?type|segment/i.test(input.name)) return 'types';
  if (/position/i.test(input.name)) return 'positions';
  if (input.dtype === 'int64' || input.dtype === 'int32') return 'ids';
  return undefined;
}

export interface TokenPlan {
  readonly roles: readonly (readonly [ModelInput, TokenRole])[];
  readonly idsInput: ModelInput;
}

/** Throws E_DATA where there is not exactly one input for the ids, or one that cannot be filled from tokens. */
export function planTokens(inputs: readonly ModelInput[], what: string): TokenPlan {
  const roles = inputs.map((input) => [input, roleOf(input)] as const);
  const list = inputs.map(describeInput).join(', ');
  const strange = roles.filter(([, role]) => role === undefined);
  const ids = roles.filter(([, role]) => role === 'ids');
  if (strange.length > 0 || ids.length !== 1)
    throw dataError(
      `${what}: expected a model that takes token ids (and perhaps attention_mask, token_type_ids, position_ids), got inputs ${list}`,
      {
        hint: 'give other inputs as arrays in an .npz file',
      },
    );
  return { roles: roles as TokenPlan['roles'], idsInput: ids[0]![0] };
}

/** Sequence length the ids input declares, if it is a number. */
export function fixedLength({ idsInput }: TokenPlan): number | undefined {
  const last = idsInput.shape?.at(-1);
  return typeof last === 'number' ? last : undefined;
}

/** Feeds for these sequences, padded on the right to `length` with mask 0. */
export function tokenFeeds(plan: TokenPlan, sequences: readonly Encoded[], length: number, padId: number): Record<string, Tensor> {
  const n = sequences.length;
  const fill = (role: TokenRole, s: Encoded, i: number): number => {
    if (role === 'ids') return s.ids[i] ?? padId;
    if (role === 'mask') return i < s.ids.length ? 1 : 0;
    return role === 'types' ? (s.types[i] ?? 0) : i;
  };
  const feeds: Record<string, Tensor> = {};
  for (const [input, role] of plan.roles) {
    if (role === 'cache' || role === 'cache-flag') {
      feeds[input.name] = emptyCache(input, n);
      continue;
    }
    const values = new Float64Array(n * length);
    for (const [row, s] of sequences.entries()) for (let i = 0; i < length; i++) values[row * length + i] = fill(role, s, i);
    feeds[input.name] = Tensor.from(input.dtype, [n, length], values);
  }
  return feeds;
}

/** A cache of length 0 (its dimension that is no number and not the first), or `false` for the flag that says whether there is one. */
function emptyCache(input: ModelInput, batch: number): Tensor {
  const dims = (input.shape ?? []).map((d, i) => (typeof d === 'number' ? d : i === 0 ? batch : 0));
  if (!isFloat(input.dtype) || dims.includes(0)) return Tensor.from(input.dtype, dims, new Float64Array(dims.reduce((a, b) => a * b, 1)));
  throw dataError(`model input ${describeInput(input)}: expected a cache that may be empty, got a fixed length`, {
    hint: 'give this input as an array in an .npz file',
  });
}
