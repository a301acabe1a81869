// The digit classifiers of the compression literature: LeNet-300-100 and LeNet-5 (LeCun et al. 1998), the latter also as Caffe changed it, which is
// the one of Deep Compression (Han et al. 2016). Input `image` [batch, channels, size, size], output `logits`.
import { z } from 'zod';
import type { Value } from '../../ir/graph.js';
import { type Activation, activation } from '../activation.js';
import { conv } from '../conv.js';
import { kaiming, xavier } from '../init.js';
import { linear } from '../linear.js';
import { flatten, pool } from '../pool.js';
import type { Scope } from '../scope.js';
import { definePreset, field } from './preset.js';

const pictures = { classes: field.classes(10), channels: field.channels(1), size: field.size(28) };

/** Hidden layers `fc1`, `fc2`, ... and a last one without an activation. */
export function denseStack(scope: Scope, x: Value, hidden: readonly number[], classes: number, kind: Activation): Value {
  let h = x;
  hidden.forEach((features, i) => {
    const layer = scope.at(`fc${i + 1}`);
    h = activation(layer, linear(layer, h, { features, init: kind === 'relu' ? kaiming() : xavier() }), kind);
  });
  return linear(scope.at(`fc${hidden.length + 1}`), h, { features: classes });
}

export const lenet300 = definePreset({
  name: 'lenet300',
  summary: 'LeNet-300-100: dense 784-300-100-10 for 28x28 digits',
  parameters: 266_610,
  options: z.strictObject(pictures),
  build(scope, { classes, channels, size }) {
    const image = scope.input('image', 'float', ['batch', channels, size, size]);
    scope.output(denseStack(scope, flatten(scope, image), [300, 100], classes, 'relu'), 'logits');
  },
});

export const lenet5 = definePreset({
  name: 'lenet5',
  summary: 'LeNet-5: convolutions 6-16, dense 120-84-10, for 28x28 digits',
  parameters: 61_706,
  options: z.strictObject({
    ...pictures,
    activation: z.enum(['relu', 'tanh']).default('relu').describe('tanh is that of 1998'),
    pool: z.enum(['max', 'average']).default('max').describe('average is that of 1998'),
  }),
  build(scope, { classes, channels, size, activation: kind, pool: poolKind }) {
    const image = scope.input('image', 'float', ['batch', channels, size, size]);
    const init = kind === 'relu' ? kaiming() : xavier();
    const [first, second] = [scope.at('conv1'), scope.at('conv2')];
    const a = activation(first, conv(first, image, { channels: 6, kernel: 5, init }), kind);
    const b = pool(scope.at('pool1'), a, { kind: poolKind });
    const c = activation(second, conv(second, b, { channels: 16, kernel: 5, padding: 'valid', init }), kind);
    const d = pool(scope.at('pool2'), c, { kind: poolKind });
    scope.output(denseStack(scope, flatten(scope, d), [120, 84], classes, kind), 'logits');
  },
});

export const lenet5Caffe = definePreset({
  name: 'lenet5-caffe',
  summary: "Caffe's LeNet-5: convolutions 20-50, dense 500-10, for 28x28 digits (Deep Compression's)",
  parameters: 431_080,
  options: z.strictObject(pictures),
  build(scope, { classes, channels, size }) {
    const image = scope.input('image', 'float', ['batch', channels, size, size]);
    // Caffe's has no rectifier after the convolutions.
    const init = kaiming({ gain: 1 });
    const a = conv(scope.at('conv1'), image, { channels: 20, kernel: 5, padding: 'valid', init });
    const b = conv(scope.at('conv2'), pool(scope.at('pool1'), a), { channels: 50, kernel: 5, padding: 'valid', init });
    scope.output(denseStack(scope, flatten(scope, pool(scope.at('pool2'), b)), [500], classes, 'relu'), 'logits');
  },
});

export const mlp = definePreset({
  name: 'mlp',
  summary: 'dense layers of any sizes on vectors',
  parameters: 266_610,
  options: z.strictObject({
    sizes: z.array(field.count).min(2).default([784, 300, 100, 10]).describe('inputs, hidden layers, outputs (default 784,300,100,10)'),
    activation: z.enum(['relu', 'gelu', 'tanh', 'silu']).default('relu').describe('after each hidden layer'),
  }),
  build(scope, { sizes, activation: kind }) {
    const x = scope.input('input', 'float', ['batch', sizes[0]!]);
    scope.output(denseStack(scope, x, sizes.slice(1, -1), sizes.at(-1)!, kind), 'logits');
  },
});
