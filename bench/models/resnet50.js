// A model of ResNet-50's shape (He et al. 2015): 53 convolutions, each with its BatchNormalization, 25.56 M parameters, random weights.
import { buildModel, Tensor } from '../../dist/index.js';
import { normalConstants } from './weights.js';

const STAGES = [
  { width: 64, blocks: 3, stride: 1 },
  { width: 128, blocks: 4, stride: 2 },
  { width: 256, blocks: 6, stride: 2 },
  { width: 512, blocks: 3, stride: 2 },
];
const EXPANSION = 4;

/** Input [N, 3, 224, 224], output [N, 1000]. */
export function buildResNet50({ seed = 1, opset = 17 } = {}) {
  return buildModel(
    'resnet50',
    (b) => {
      const tensor = normalConstants(b, seed);
      const filled = (name, n, value) => b.constant(name, Tensor.of('float', [n], new Float32Array(n).fill(value)));
      let inChannels = 3;
      const conv = (x, name, from, to, kernel, stride, gain = 1) => {
        const w = tensor(`${name}.weight`, [to, from, kernel, kernel], Math.sqrt(2 / (from * kernel * kernel)));
        const pad = (kernel - 1) / 2;
        const y = b.op('Conv', [x, w], { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: [pad, pad, pad, pad] }, { name });
        const bn = `${name}.bn`;
        const parts = [
          filled(`${bn}.weight`, to, gain),
          tensor(`${bn}.bias`, [to], 0.1),
          tensor(`${bn}.mean`, [to], 0.1),
          filled(`${bn}.var`, to, 1),
        ];
        return b.op('BatchNormalization', [y, ...parts], {}, { name: bn });
      };
      const relu = (x, name) => b.op('Relu', [x], {}, { name });
      let x = b.input('image', 'float', ['batch', 3, 224, 224]);
      x = relu(conv(x, 'stem', inChannels, 64, 7, 2), 'stem.relu');
      x = b.op('MaxPool', [x], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }, { name: 'stem.pool' });
      inChannels = 64;
      STAGES.forEach(({ width, blocks, stride }, stage) => {
        for (let i = 0; i < blocks; i++) {
          const name = `layer${stage + 1}.${i}`;
          const s = i === 0 ? stride : 1;
          let y = relu(conv(x, `${name}.conv1`, inChannels, width, 1, 1), `${name}.relu1`);
          y = relu(conv(y, `${name}.conv2`, width, width, 3, s), `${name}.relu2`);
          // A small last scale keeps sixteen residual additions from blowing up.
          y = conv(y, `${name}.conv3`, width, width * EXPANSION, 1, 1, 0.25);
          const shortcut = i === 0 ? conv(x, `${name}.downsample`, inChannels, width * EXPANSION, 1, s, 0.7) : x;
          x = relu(b.op('Add', [y, shortcut], {}, { name: `${name}.add` }), `${name}.relu3`);
          inChannels = width * EXPANSION;
        }
      });
      x = b.op('GlobalAveragePool', [x], {}, { name: 'pool' });
      x = b.op('Flatten', [x], { axis: 1 }, { name: 'flatten' });
      const w = tensor('fc.weight', [1000, inChannels], Math.sqrt(1 / inChannels));
      x = b.op('Gemm', [x, w, tensor('fc.bias', [1000], 0.01)], { transB: 1 }, { name: 'fc' });
      x.type = { kind: 'tensor', dtype: 'float', shape: ['batch', 1000] };
      b.output(x, 'logits');
    },
    { opset },
  );
}
