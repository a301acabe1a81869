// What both kinds of quantization-aware training have in common: a model that rounds as the exported one will, the parameters that it is trained by,
// and the way back to a file that runs on integers.
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { codesOfFake, type FakeWeight } from '../../quant/fake-quant.js';
import type { GivenWeight } from '../../quant/weights.js';
import type { StepState } from '../../train/trainer-options.js';

export interface Simulation {
  /** The float model with rounding in it: what is trained. */
  readonly model: Model;
  /** Names of the constants to train: weights, biases, and factors of scales. */
  readonly parameters: readonly string[];
  /** Names of the factors among them. */
  readonly factors: ReadonlyMap<string, FactorBounds>;
  /** The prepared float model, whose values keep their names in the simulation. */
  readonly float: Model;
  readonly weights: readonly FakeWeight[];
  /** The same weights as codes behind DequantizeLinear or in block kernels; `trained` is the simulation with other weights. */
  export(trained: Model): Model;
  readonly rounded: { readonly weights: number; readonly activations: number };
}

/** Factors outside would turn a scale round or let values pass that were cut. */
export interface FactorBounds {
  readonly least: number;
  readonly most: number;
}

export const FREE_FACTOR: FactorBounds = { least: 0.02, most: 50 };

/** For the option `afterStep` of a training: keeps factors within their bounds. */
export function keepFactors({ factors }: Pick<Simulation, 'factors'>): (state: Pick<StepState, 'parameters'>) => void {
  return ({ parameters }) => {
    for (const [name, { least, most }] of factors) {
      const values = parameters.get(name);
      if (!values) continue;
      for (let i = 0; i < values.length; i++) {
        const f = values[i]!;
        if (f < least) values[i] = least;
        else if (f > most) values[i] = most;
      }
    }
  };
}

/** Elements of a constant of a trained model. */
export function floatsOf(model: Model, name: string): Float32Array {
  return model.graph.value(name)!.initializer!.floats();
}

/** Codes of at most 4 bits are stored in 4: DequantizeLinear knows no smaller ones that runtimes have. */
export function storedChannels(fake: FakeWeight, trained: Model): GivenWeight {
  const { codes, scales } = codesOfFake(fake, floatsOf(trained, fake.name), floatsOf(trained, fake.factor));
  const { levels } = fake;
  const whole = levels.offset === 0 ? codes : codes.map((c) => 2 * c + 1);
  const scale = levels.offset === 0 ? scales : scales.map((s) => s / 2);
  return { codes: Tensor.from(levels.bits > 4 ? 'int8' : 'int4', fake.dims, whole), scale };
}
