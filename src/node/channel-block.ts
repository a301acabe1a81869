// How many channels ONNX Runtime's blocked convolutions take side by side on this processor: 16 with AVX-512, 8 with AVX2. It says so nowhere; a small graph shows it.
import { buildModel } from '../ir/builder.js';
import { Tensor } from '../ir/tensor.js';
import { encodeModel } from '../onnx/encode.js';
import type { Engine } from '../runtime/engine.js';

const DOMAIN = 'com.microsoft.nchwc';
/** Blocks that there are kernels for. */
const BLOCKS = [8, 16];

/** Channels of a block; undefined where the engine has no such convolutions. Other processors than x64 are not asked: untried. */
export async function findChannelBlock(engine: Engine, arch: string = process.arch): Promise<number | undefined> {
  if (arch !== 'x64') return undefined;
  const model = buildModel(
    'block',
    (b) => b.output(b.op('ReorderInput', [b.input('x', 'float', [1, 4, 1, 1])], { channels_last: 0 }, { domain: DOMAIN }), 'y'),
    { opsets: { [DOMAIN]: 1 } },
  );
  try {
    const session = await engine.load({ bytes: encodeModel(model).bytes }, { threads: 1 });
    const { y } = await session.run({ x: Tensor.from('float', [1, 4, 1, 1], [1, 2, 3, 4]) });
    await session.release();
    const block = y!.dims[1]!;
    const values = [...y!.numbers()];
    return BLOCKS.includes(block) && values.every((v, i) => v === (i < 4 ? i + 1 : 0)) ? block : undefined;
  } catch {
    return undefined;
  }
}
