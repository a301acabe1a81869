// An encoder of MiniLM-L6's shape as PyTorch's exporter writes it: 6 layers, hidden 384, vocabulary 30,522, dynamic batch and sequence,
// LayerNorm and GELU decomposed, head reshapes with shape arithmetic. 22.7 M parameters, 90.9 MB, random weights.
import { buildModel, Tensor } from '../../dist/index.js';
import { normalConstants } from './weights.js';

/** Inputs input_ids, attention_mask, token_type_ids [batch, sequence] int64; output last_hidden_state [batch, sequence, hidden]. */
export function buildTransformer({ layers = 6, hidden = 384, heads = 12, vocabulary = 30522, positions = 512, seed = 2, opset = 17 } = {}) {
  const size = hidden / heads;
  return buildModel(
    'encoder',
    (b) => {
      const tensor = normalConstants(b, seed);
      const ones = (name, n) => b.constant(name, Tensor.of('float', [n], new Float32Array(n).fill(1)));
      const scalar = (name, v) => b.scalar(name, 'float', v);
      const ints = (name, v) => b.ints(name, v);
      const index = (name, v) => b.constant(name, Tensor.from('int64', [], [v]));
      const [ids, mask, types] = ['input_ids', 'attention_mask', 'token_type_ids'].map((n) => b.input(n, 'int64', ['batch', 'sequence']));

      const dimension = (x, axis, name) => {
        const shape = b.op('Shape', [x], {}, { name: `${name}/Shape` });
        const d = b.op('Gather', [shape, index(`${name}/axis`, axis)], { axis: 0 }, { name: `${name}/Gather` });
        return b.op('Unsqueeze', [d, ints(`${name}/zero`, [0])], {}, { name: `${name}/Unsqueeze` });
      };
      const layerNorm = (x, name) => {
        const mean = b.op('ReduceMean', [x], { axes: [-1] }, { name: `${name}/ReduceMean` });
        const centred = b.op('Sub', [x, mean], {}, { name: `${name}/Sub` });
        const squared = b.op('Pow', [centred, scalar(`${name}/two`, 2)], {}, { name: `${name}/Pow` });
        const variance = b.op('ReduceMean', [squared], { axes: [-1] }, { name: `${name}/ReduceMean_1` });
        const shifted = b.op('Add', [variance, scalar(`${name}/eps`, 1e-12)], {}, { name: `${name}/Add` });
        const std = b.op('Sqrt', [shifted], {}, { name: `${name}/Sqrt` });
        const normed = b.op('Div', [centred, std], {}, { name: `${name}/Div` });
        const scaled = b.op('Mul', [normed, ones(`${name}.weight`, hidden)], {}, { name: `${name}/Mul` });
        return b.op('Add', [scaled, tensor(`${name}.bias`, [hidden], 0.02)], {}, { name: `${name}/Add_1` });
      };
      const linear = (x, name, from, to) => {
        const y = b.op('MatMul', [x, tensor(`${name}.weight`, [from, to], 1 / Math.sqrt(from))], {}, { name: `${name}/MatMul` });
        return b.op('Add', [tensor(`${name}.bias`, [to], 0.02), y], {}, { name: `${name}/Add` });
      };
      const gelu = (x, name) => {
        const scaled = b.op('Div', [x, scalar(`${name}/sqrt2`, Math.SQRT2)], {}, { name: `${name}/Div` });
        const erf = b.op('Erf', [scaled], {}, { name: `${name}/Erf` });
        const shifted = b.op('Add', [erf, scalar(`${name}/one`, 1)], {}, { name: `${name}/Add` });
        const product = b.op('Mul', [x, shifted], {}, { name: `${name}/Mul` });
        return b.op('Mul', [product, scalar(`${name}/half`, 0.5)], {}, { name: `${name}/Mul_1` });
      };
      const split = (x, name, perm) => {
        const parts = [
          dimension(x, 0, `${name}/batch`),
          dimension(x, 1, `${name}/sequence`),
          ints(`${name}/heads`, [heads]),
          ints(`${name}/size`, [size]),
        ];
        const shape = b.op('Concat', parts, { axis: 0 }, { name: `${name}/Concat` });
        const y = b.op('Reshape', [x, shape], {}, { name: `${name}/Reshape` });
        return b.op('Transpose', [y], { perm }, { name: `${name}/Transpose` });
      };

      const word = b.op('Gather', [tensor('embeddings.word', [vocabulary, hidden], 0.05), ids], {}, { name: 'embeddings/word/Gather' });
      const type = b.op('Gather', [tensor('embeddings.type', [2, hidden], 0.05), types], {}, { name: 'embeddings/type/Gather' });
      const length = dimension(ids, 1, 'embeddings/length');
      const slots = b.constant(
        'embeddings.position_ids',
        Tensor.from(
          'int64',
          [1, positions],
          Array.from({ length: positions }, (_, i) => i),
        ),
      );
      const place = b.op(
        'Slice',
        [slots, ints('embeddings/start', [0]), length, ints('embeddings/axis', [1]), ints('embeddings/step', [1])],
        {},
        { name: 'embeddings/Slice' },
      );
      const position = b.op(
        'Gather',
        [tensor('embeddings.position', [positions, hidden], 0.05), place],
        {},
        { name: 'embeddings/position/Gather' },
      );
      const summed = b.op('Add', [b.op('Add', [word, type], {}, { name: 'embeddings/Add' }), position], {}, { name: 'embeddings/Add_1' });
      let x = layerNorm(summed, 'embeddings/LayerNorm');

      const expanded = b.op('Unsqueeze', [mask, ints('mask/axes', [1, 2])], {}, { name: 'mask/Unsqueeze' });
      const asFloat = b.op('Cast', [expanded], { to: 1 }, { name: 'mask/Cast' });
      const inverted = b.op('Sub', [scalar('mask/one', 1), asFloat], {}, { name: 'mask/Sub' });
      const bias = b.op('Mul', [inverted, scalar('mask/min', -3.4028234663852886e38)], {}, { name: 'mask/Mul' });

      for (let i = 0; i < layers; i++) {
        const name = `layer.${i}`;
        const attention = `${name}/attention`;
        const query = split(linear(x, `${attention}/query`, hidden, hidden), `${attention}/query`, [0, 2, 1, 3]);
        const key = split(linear(x, `${attention}/key`, hidden, hidden), `${attention}/key`, [0, 2, 3, 1]);
        const value = split(linear(x, `${attention}/value`, hidden, hidden), `${attention}/value`, [0, 2, 1, 3]);
        const scores = b.op('MatMul', [query, key], {}, { name: `${attention}/MatMul` });
        const scaled = b.op('Div', [scores, scalar(`${attention}/scale`, Math.sqrt(size))], {}, { name: `${attention}/Div` });
        const masked = b.op('Add', [scaled, bias], {}, { name: `${attention}/Add` });
        const weights = b.op('Softmax', [masked], { axis: -1 }, { name: `${attention}/Softmax` });
        const context = b.op('MatMul', [weights, value], {}, { name: `${attention}/MatMul_1` });
        const back = b.op('Transpose', [context], { perm: [0, 2, 1, 3] }, { name: `${attention}/Transpose` });
        const parts = [
          dimension(back, 0, `${attention}/batch`),
          dimension(back, 1, `${attention}/sequence`),
          ints(`${attention}/hidden`, [hidden]),
        ];
        const joined = b.op(
          'Reshape',
          [back, b.op('Concat', parts, { axis: 0 }, { name: `${attention}/Concat` })],
          {},
          { name: `${attention}/Reshape` },
        );
        const attended = b.op('Add', [linear(joined, `${attention}/output`, hidden, hidden), x], {}, { name: `${attention}/residual` });
        x = layerNorm(attended, `${attention}/LayerNorm`);
        const inner = gelu(linear(x, `${name}/intermediate`, hidden, hidden * 4), `${name}/gelu`);
        const outer = b.op('Add', [linear(inner, `${name}/output`, hidden * 4, hidden), x], {}, { name: `${name}/residual` });
        x = layerNorm(outer, `${name}/LayerNorm`);
      }
      x.type = { kind: 'tensor', dtype: 'float', shape: ['batch', 'sequence', hidden] };
      b.output(x, 'last_hidden_state');
    },
    { opset },
  );
}
