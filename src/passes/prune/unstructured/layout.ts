// How a weight's elements are laid out: outputs, inputs summed over, taps of a kernel, and outer axes (groups, directions, batches of matrices). Patterns of
// zeros (N:M along the inputs, blocks of outputs x inputs) and comparisons within an output are stated on these axes, whatever the operator.
import type { Node } from '../../../ir/graph.js';

/** One axis: how many places, and how far apart they are in the tensor. */
export interface LayoutAxis {
  readonly size: number;
  readonly stride: number;
}

export interface WeightLayout {
  /** Matrices that have nothing to do with each other. */
  readonly outer: LayoutAxis;
  readonly outs: LayoutAxis;
  readonly ins: LayoutAxis;
  /** Places of a kernel's window; 1 for matrices. */
  readonly taps: LayoutAxis;
}

/** Rows of a weight [..., rows, columns] are the inputs, or with `transposed` the outputs. */
function matrixLayout(dims: readonly number[], transposed: boolean): WeightLayout {
  const [rows, columns] = [dims.at(-2)!, dims.at(-1)!];
  const outer = dims.slice(0, -2).reduce((a, b) => a * b, 1);
  const first = { size: rows, stride: columns };
  const second = { size: columns, stride: 1 };
  return {
    outer: { size: outer, stride: rows * columns },
    outs: transposed ? first : second,
    ins: transposed ? second : first,
    taps: { size: 1, stride: 1 },
  };
}

/**
 * Layout of the constant that `node` reads as input `index`; undefined where it is no weight that is summed over. `exchanged`: it is read through a
 * Transpose of its two axes.
 */
export function weightLayout(node: Node, index: number, dims: readonly number[], exchanged: boolean): WeightLayout | undefined {
  const window = dims.slice(2).reduce((a, b) => a * b, 1);
  const taps = { size: window, stride: 1 };
  switch (node.opType) {
    case 'Conv':
    case 'FusedConv':
      if (index !== 1 || dims.length < 3) return undefined;
      return {
        outer: { size: 1, stride: 0 },
        outs: { size: dims[0]!, stride: dims[1]! * window },
        ins: { size: dims[1]!, stride: window },
        taps,
      };
    case 'ConvTranspose': {
      if (index !== 1 || dims.length < 3) return undefined;
      const groups = node.int('group', 1);
      const ins = dims[0]! / groups;
      return {
        outer: { size: groups, stride: ins * dims[1]! * window },
        outs: { size: dims[1]!, stride: window },
        ins: { size: ins, stride: dims[1]! * window },
        taps,
      };
    }
    case 'MatMul':
    case 'FusedMatMul':
      if (dims.length < 2 || index > 1) return undefined;
      // As the left operand its rows are the outputs.
      return matrixLayout(dims, (index === 0) !== (exchanged || node.int(index === 0 ? 'transA' : 'transB', 0) !== 0));
    case 'Gemm':
    case 'FusedGemm':
      if (dims.length !== 2 || index > 1) return undefined;
      return matrixLayout(dims, (index === 0) !== (exchanged !== (node.int(index === 0 ? 'transA' : 'transB', 0) !== 0)));
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      return (index === 1 || index === 2) && dims.length === 3 ? matrixLayout(dims, true) : undefined;
    case 'Gather':
      // A table: each row is an output.
      return index === 0 && dims.length === 2 && node.int('axis', 0) === 0 ? matrixLayout(dims, true) : undefined;
    default:
      return undefined;
  }
}

/** Position of an element in the tensor. */
export function elementAt(layout: WeightLayout, outer: number, out: number, input: number, tap: number): number {
  return outer * layout.outer.stride + out * layout.outs.stride + input * layout.ins.stride + tap * layout.taps.stride;
}

export function sizeOf({ outer, outs, ins, taps }: WeightLayout): number {
  return outer.size * outs.size * ins.size * taps.size;
}

/** Zeros in a pattern: `keep` of each `of` inputs, or whole blocks of outputs x inputs. */
export type Pattern =
  | { readonly kind: 'n:m'; readonly keep: number; readonly of: number }
  | { readonly kind: 'block'; readonly outs: number; readonly ins: number };

/** `2:4`, `4:8`, `4x1`, `1x16`; undefined where the text is no pattern. */
export function parsePattern(text: string): Pattern | undefined {
  const ratio = /^(\d+):(\d+)$/.exec(text);
  if (ratio) {
    const [keep, of] = [Number(ratio[1]), Number(ratio[2])];
    return keep > 0 && keep < of && of <= 64 ? { kind: 'n:m', keep, of } : undefined;
  }
  const block = /^(\d+)x(\d+)$/.exec(text);
  if (!block) return undefined;
  const [outs, ins] = [Number(block[1]), Number(block[2])];
  return outs > 0 && ins > 0 && outs * ins > 1 && outs * ins <= 1024 ? { kind: 'block', outs, ins } : undefined;
}

/** Why a weight cannot have the pattern; undefined where it can. */
export function patternProblem(layout: WeightLayout, pattern: Pattern | undefined): string | undefined {
  if (!pattern) return undefined;
  if (pattern.kind === 'n:m') {
    return layout.ins.size % pattern.of === 0
      ? undefined
      : `its ${layout.ins.size} inputs per output are no multiple of ${pattern.of}, which ${pattern.keep}:${pattern.of} needs`;
  }
  if (layout.outs.size % pattern.outs !== 0) return `its ${layout.outs.size} outputs are no multiple of ${pattern.outs}`;
  return layout.ins.size % pattern.ins === 0 ? undefined : `its ${layout.ins.size} inputs per output are no multiple of ${pattern.ins}`;
}

/** Elements that come and go together, all of one size: `members` holds them one cell after the other. */
export interface Cells {
  readonly size: number;
  readonly members: Int32Array;
  /** Output that each cell belongs to (of a block: its first), counted over the outer axis as well. */
  readonly outputs: Int32Array;
}

/** Cells of a weight, in the order outer, output, tap, input: those of an output lie together, and so do those along the inputs. */
export function cellsOf(layout: WeightLayout, pattern?: Pattern): Cells {
  const [rows, columns] = pattern?.kind === 'block' ? [pattern.outs, pattern.ins] : [1, 1];
  const size = rows * columns;
  const members = new Int32Array(sizeOf(layout));
  const outputs = new Int32Array(members.length / size);
  let at = 0;
  for (let g = 0; g < layout.outer.size; g++) {
    for (let o = 0; o < layout.outs.size; o += rows) {
      for (let t = 0; t < layout.taps.size; t++) {
        for (let c = 0; c < layout.ins.size; c += columns) {
          outputs[at / size] = g * layout.outs.size + o;
          for (let r = 0; r < rows; r++) for (let i = 0; i < columns; i++) members[at++] = elementAt(layout, g, o + r, c + i, t);
        }
      }
    }
  }
  return { size, members, outputs };
}
