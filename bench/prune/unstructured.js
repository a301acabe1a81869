// Single weights to zero: a residual network pruned over all layers by size, with and without repair from unlabelled rows, and a character model by each
// method. Calibration data is never judged on: other rows, another part of the text.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { atLeast, atMost, check, figure, wanted } from '../lib/bars.js';
import { pareJson, shared, WORK } from '../lib/pare.js';

const out = join(WORK, 'unstructured.onnx');
const prune = (model, ...args) => pareJson('prune', shared(model), '-o', out, '--force', '--unstructured', ...args);
const percent = (x) => 100 * x;

export function unstructured() {
  if (wanted('magnitude')) magnitude();
  if (wanted('spread')) spread();
  if (wanted('sparsegpt')) characters();
}

const CIFAR = [
  ...['--data', `cifar:${shared('cifar10/train_png_batch0.bin.gz')}`, '--validation', `cifar:${shared('cifar10/test_jpg_0-999.bin.gz')}`],
  ...['--preprocess', 'imagenet', '--metric', 'top1'],
];

/** Top-1 in percent without fine-tuning: what global magnitude leaves elsewhere, and the bar with repair. */
const LEVELS = [
  { sparsity: 0.5, reference: 77.2, bar: 79 },
  { sparsity: 0.7, reference: 53.2, bar: 74 },
  { sparsity: 0.8, reference: 33.5, bar: 65 },
  { sparsity: 0.9, reference: 10 },
];

function magnitude() {
  for (const { sparsity, reference, bar } of LEVELS) {
    const args = ['--sparsity', String(sparsity), '--scope', 'global', ...CIFAR];
    const plain = prune('resnet20-cifar10/resnet20_cifar10.onnx', ...args);
    const name = `magnitude-resnet20-${sparsity * 100}`;
    figure(
      `  ${name}`,
      `${percent(plain.quality.after).toFixed(1)} % top-1 of ${percent(plain.quality.before).toFixed(1)} (reference ${reference})`,
    );
    const zeros = plain.passes[0].notes.sparsity.sparsity;
    check(`${name}-zeros`, Math.abs(zeros - sparsity) < 1e-3 ? [] : [`expected ${sparsity}, got ${zeros}`]);
    const repaired = prune('resnet20-cifar10/resnet20_cifar10.onnx', ...args, '--reconstruct');
    if (bar === undefined) figure(`  ${name}-reconstructed`, `${percent(repaired.quality.after).toFixed(1)} % top-1`);
    else atLeast(`${name}-reconstructed`, percent(repaired.quality.after), bar, '%');
  }
}

/** Ways to spread 80 % of zeros over the layers, without repair. */
function spread() {
  const ways = {
    uniform: [],
    erk: ['--layer-sparsity', 'erk'],
    sensitivity: ['--layer-sparsity', 'sensitivity'],
    sparsegpt: ['--method', 'sparsegpt'],
    'sparsegpt-sensitivity-reconstructed': ['--method', 'sparsegpt', '--layer-sparsity', 'sensitivity', '--reconstruct'],
    fisher: ['--method', 'fisher', '--scope', 'global'],
    taylor: ['--method', 'taylor', '--scope', 'global'],
  };
  for (const [name, args] of Object.entries(ways)) {
    const r = prune('resnet20-cifar10/resnet20_cifar10.onnx', '--sparsity', '0.8', ...args, ...CIFAR);
    figure(`  spread-resnet20-80-${name}`, `${percent(r.quality.after).toFixed(1)} % top-1`);
  }
}

function characters() {
  const text = readFileSync(shared('tiny-shakespeare/input.txt'), 'utf8');
  const cut = Math.floor(text.length * 0.9);
  const [train, last] = [join(WORK, 'prune-train.txt'), join(WORK, 'prune-last.txt')];
  writeFileSync(train, text.slice(0, cut));
  writeFileSync(last, text.slice(cut));
  const data = ['--data', train, '--validation', last, '--tokenizer', shared('text-models/shakespeare_vocab.json'), '--metric', 'loss'];
  const measure = (method, args) => {
    const { quality, passes } = prune('text-models/shakespeare_gpt.onnx', '--method', method, ...args, '--samples', '128', ...data);
    const more = quality.after - quality.before;
    figure(
      `  sparsegpt-shakespeare ${method} ${args.join(' ')}`,
      `loss ${quality.before.toFixed(4)} + ${more.toFixed(4)} on ${quality.samples} windows, ${(passes[0].ms / 1000).toFixed(1)} s`,
    );
    return more;
  };
  const half = ['--sparsity', '0.5'];
  const [size, wanda, hessian] = ['magnitude', 'wanda', 'sparsegpt'].map((m) => measure(m, half));
  check('sparsegpt-shakespeare-order', hessian < wanda && wanda < size ? [] : [`sparsegpt ${hessian}, wanda ${wanda}, magnitude ${size}`]);
  atMost('sparsegpt-shakespeare-of-magnitude', hessian / size, 1 / 3);
  measure('sparsegpt', [...half, '--reconstruct']);
  for (const method of ['magnitude', 'wanda', 'sparsegpt']) measure(method, ['--pattern', '2:4']);
}
