// All presets by name: what `pare new` can make.
import { usageError } from '../../errors.js';
import type { Model } from '../../ir/model.js';
import type { NetworkOptions } from '../scope.js';
import { bertMini, bertTiny } from './bert.js';
import { dsCnn } from './ds-cnn.js';
import { gptNano } from './gpt.js';
import { lenet5, lenet5Caffe, lenet300, mlp } from './lenet.js';
import { mobilenet } from './mobilenet.js';
import type { Preset } from './preset.js';
import { resnet8, resnet20, resnet32, resnet56 } from './resnet.js';

export type { Preset } from './preset.js';

const ALL: readonly Preset[] = [
  lenet300,
  lenet5,
  lenet5Caffe,
  mlp,
  resnet8,
  resnet20,
  resnet32,
  resnet56,
  mobilenet,
  dsCnn,
  bertTiny,
  bertMini,
  gptNano,
];

export const PRESETS: Readonly<Record<string, Preset>> = Object.fromEntries(ALL.map((preset) => [preset.name, preset]));

/** The preset of this name; throws E_USAGE with the list of names. */
export function presetNamed(name: string): Preset {
  const preset = Object.hasOwn(PRESETS, name) ? PRESETS[name] : undefined;
  if (!preset) throw usageError(`unknown preset "${name}": expected one of ${Object.keys(PRESETS).join(', ')}`);
  return preset;
}

/** A new model of a preset. Throws E_USAGE for an unknown preset or option. */
export function createPreset(name: string, options?: Readonly<Record<string, unknown>>, network: NetworkOptions = {}): Model {
  return presetNamed(name).create(options, network);
}
