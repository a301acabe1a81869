// 24 MatMuls of 1.07 GB of float weights together, as the linear layers of a language model alternate between widths. Random weights.
import { buildModel, Tensor } from '../../dist/index.js';
import { normalFiller } from './weights.js';

/** Input [rows, width], output [rows, width]. */
export function buildMatMulChain({ pairs = 12, width = 2048, inner = 5440, seed = 3 } = {}) {
  const normal = normalFiller(seed);
  return buildModel('matmul-chain', (b) => {
    let x = b.input('x', 'float', ['rows', width]);
    for (let i = 0; i < pairs; i++) {
      const up = b.constant(`up.${i}`, Tensor.of('float', [width, inner], normal(width * inner, 1 / Math.sqrt(width))));
      const down = b.constant(`down.${i}`, Tensor.of('float', [inner, width], normal(width * inner, 1 / Math.sqrt(inner))));
      x = b.op('MatMul', [b.op('MatMul', [x, up], {}, { name: `up_${i}` }), down], {}, { name: `down_${i}` });
    }
    x.type = { kind: 'tensor', dtype: 'float', shape: ['rows', width] };
    b.output(x, 'y');
  });
}
