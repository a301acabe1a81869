// The flags of `pare train` for low-rank adapters, and what they put around the training.
import { type Command, Option } from 'commander';
import { usageError } from '../errors.js';
import { writeFileAtomic } from '../node/files.js';
import type { BoundPass } from '../pass/define.js';
import { addAdapters } from '../passes/adapters/add.js';
import { encodeAdapters, readAdapters } from '../passes/adapters/file.js';
import { mergeAdapters } from '../passes/adapters/merge.js';
import { positiveInteger } from './shared-options.js';

export interface LoraFlags {
  readonly lora?: number;
  readonly loraAlpha?: number;
  readonly loraOnly?: readonly string[];
  readonly loraMerge?: boolean;
  readonly adapter?: string;
}

export function addLoraFlags(command: Command): void {
  const names = (text: string, earlier: readonly string[] = []) => [...earlier, ...text.split(',').map((s) => s.trim())];
  command
    .addOption(
      new Option('--lora <rank>', 'train low-rank adapters of this rank beside the products; all other weights stay').argParser(
        positiveInteger,
      ),
    )
    .addOption(
      new Option('--lora-alpha <number>', 'the update is scaled by this, divided by the rank (default: the rank)').argParser(Number),
    )
    .addOption(new Option('--lora-only <list>', 'only products of these names (* stands for anything); may be repeated').argParser(names))
    .option('--lora-merge', 'take the adapters into the weights in the end (4-bit weights become float)')
    .option('--adapter <file>', 'write the adapters to this file too (safetensors; pare adapter puts them back)');
}

/** Passes before and after the training, and what is written once all is well. */
export function loraPasses({ lora, loraAlpha, loraOnly, loraMerge, adapter }: LoraFlags): {
  readonly before: readonly BoundPass[];
  readonly after: readonly BoundPass[];
  write(): Promise<void>;
} {
  if (lora === undefined) {
    if (loraAlpha !== undefined || loraOnly !== undefined || loraMerge !== undefined || adapter !== undefined)
      throw usageError('--lora-alpha, --lora-only, --lora-merge and --adapter: expected --lora RANK with them, got none');
    return { before: [], after: [], write: async () => {} };
  }
  if (loraAlpha !== undefined && !(loraAlpha > 0)) throw usageError(`--lora-alpha: expected a number above 0, got ${loraAlpha}`);
  let bytes: Uint8Array | undefined;
  const capture: BoundPass = {
    name: 'read-adapters',
    summary: 'the adapters apart from the model',
    options: {},
    needs: {},
    run: async (model) => {
      bytes = encodeAdapters(readAdapters(model));
      return false;
    },
  };
  return {
    before: [
      addAdapters({ rank: lora, ...(loraAlpha === undefined ? {} : { alpha: loraAlpha }), ...(loraOnly ? { only: [...loraOnly] } : {}) }),
    ],
    after: [...(adapter === undefined ? [] : [capture]), ...(loraMerge ? [mergeAdapters()] : [])],
    write: async () => {
      if (adapter !== undefined && bytes) await writeFileAtomic(adapter, bytes);
    },
  };
}
