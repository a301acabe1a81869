// The model itself says how it was made: version, recipe, seed, hash of the input, and whether the result was run.
import type { Model } from '../ir/model.js';
import type { BoundPass } from '../pass/define.js';
import type { RunRecord } from '../pass/record.js';
import { VERSION } from '../util/version.js';

export interface Provenance {
  readonly passes: readonly BoundPass[];
  readonly seed: number;
  /** SHA-256 of the input in hex. */
  readonly inputSha256: string;
  readonly verified: boolean;
}

export function recipeOf(passes: readonly BoundPass[]): RunRecord['recipe'] {
  return passes.map((p) => ({ pass: p.name, options: p.options }));
}

export function stampMetadata(model: Model, { passes, seed, inputSha256, verified }: Provenance): void {
  model.metadata.set('pare.version', VERSION);
  model.metadata.set('pare.recipe', JSON.stringify(recipeOf(passes)));
  model.metadata.set('pare.seed', String(seed));
  model.metadata.set('pare.input_sha256', inputSha256);
  model.metadata.set('pare.verified', verified ? 'true' : 'not verified');
}
