// Small graphs for each rule of `simplify`: what it must make of them, or why it must leave them alone. Inputs whose names start with "c_"
// become constants with random content (`c_one_`, `c_zero_`: that number; `c_pos_`: positive).
export interface RewriteSample {
  readonly rule: string;
  readonly label?: string;
  readonly opset?: number;
  /** Signature and body of the graph, in ONNX text. */
  readonly graph: string;
  /** Operators afterwards, in order. */
  readonly ops: string;
  /** Reason for which the rule must not have fired; it must have fired where this is absent. */
  readonly miss?: RegExp;
  readonly options?: Readonly<Record<string, unknown>>;
}

const LAYER_NORM = `
  axes = Constant <value_ints = [-1]> ()
  two = Constant <value_float = 2.0> ()
  eps = Constant <value_float = 0.00001> ()
  m = ReduceMean <keepdims = 1> (x, axes)
  d = Sub (x, m)
  p = Pow (d, two)
  v = ReduceMean <keepdims = 1> (p, axes)
  e = Add (v, eps)
  r = Sqrt (e)
  n = Div (d, r)`;

export const REWRITE_SAMPLES: readonly RewriteSample[] = [
  { rule: 'remove-identity', graph: '(float[N,4] x) => (float[N,4] y) { a = Identity (x) y = Relu (a) }', ops: 'Relu' },
  {
    rule: 'remove-identity',
    label: 'between input and output',
    graph: '(float[N,4] x) => (float[N,4] y) { y = Identity (x) }',
    ops: 'Identity',
    miss: /must keep its name/,
  },
  { rule: 'remove-dropout', graph: '(float[N,4] x) => (float[N,4] y) { a = Dropout (x) y = Relu (a) }', ops: 'Relu' },
  { rule: 'remove-cast', graph: '(float[N,4] x) => (float[N,4] y) { a = Cast <to = 1> (x) y = Relu (a) }', ops: 'Relu' },
  {
    rule: 'remove-reshape',
    graph: '(float[2,3,4] x) => (float[2,3,4] y) { s = Constant <value_ints = [2,-1,4]> () a = Reshape (x, s) y = Relu (a) }',
    ops: 'Relu',
  },
  {
    rule: 'remove-transpose',
    label: 'of extents of one',
    graph: '(float[2,1,1,4] x) => (float[2,1,1,4] y) { a = Transpose <perm = [0,2,1,3]> (x) y = Relu (a) }',
    ops: 'Relu',
  },
  {
    rule: 'remove-slice',
    graph: `(float[N,4] x) => (float[N,4] y) { s = Constant <value_ints = [0]> () e = Constant <value_ints = [9]> () a = Constant <value_ints = [1]> ()
      t = Slice (x, s, e, a) y = Relu (t) }`,
    ops: 'Relu',
  },
  {
    rule: 'remove-slice',
    label: 'reversing keeps the shape but not the values',
    graph: `(float[N,4] x) => (float[N,4] y) { s = Constant <value_ints = [3]> () e = Constant <value_ints = [-9]> () a = Constant <value_ints = [1]> ()
      p = Constant <value_ints = [-1]> () t = Slice (x, s, e, a, p) y = Relu (t) }`,
    ops: 'Slice Relu',
    miss: /^$/,
  },
  {
    rule: 'remove-pad',
    graph: '(float[N,4] x) => (float[N,4] y) { p = Constant <value_ints = [0,0,0,0]> () a = Pad (x, p) y = Relu (a) }',
    ops: 'Relu',
  },
  { rule: 'remove-single', graph: '(float[N,4] x) => (float[N,4] y) { a = Concat <axis = 1> (x) y = Relu (a) }', ops: 'Relu' },
  {
    rule: 'remove-tile',
    graph: '(float[N,4] x) => (float[N,4] y) { r = Constant <value_ints = [1,1]> () a = Tile (x, r) y = Relu (a) }',
    ops: 'Relu',
  },
  { rule: 'remove-clip', graph: '(float[N,4] x) => (float[N,4] y) { a = Clip (x) y = Relu (a) }', ops: 'Relu' },
  {
    rule: 'remove-reduce',
    graph: '(float[N,1,4] x) => (float[N,1,4] y) { i = Constant <value_ints = [1]> () a = ReduceMean (x, i) y = Relu (a) }',
    ops: 'Relu',
  },
  {
    rule: 'remove-neutral-arithmetic',
    graph: '(float[N,4] x, float[4] c_one_s, float c_zero_t) => (float[N,4] y) { a = Mul (c_one_s, x) b = Add (a, c_zero_t) y = Relu (b) }',
    ops: 'Relu',
  },
  {
    rule: 'remove-neutral-arithmetic',
    label: 'that broadcasts',
    graph: '(float[1,4] x, float[3,4] c_one_s) => (float[3,4] y) { a = Mul (x, c_one_s) y = Relu (a) }',
    ops: 'Mul Relu',
    miss: /broadcast/,
  },
  { rule: 'remove-double-negation', graph: '(float[N,4] x) => (float[N,4] y) { a = Neg (x) b = Neg (a) y = Relu (b) }', ops: 'Relu' },
  { rule: 'remove-repeated', graph: '(float[N,4] x) => (float[N,4] y) { a = Relu (x) b = Relu (a) y = Exp (b) }', ops: 'Relu Exp' },
  {
    rule: 'remove-where',
    graph: '(float[N,4] x, bool c_one_k, float c_f) => (float[N,4] y) { a = Where (c_one_k, x, c_f) y = Relu (a) }',
    ops: 'Relu',
  },
  {
    rule: 'merge-casts',
    graph: '(float16[N,4] x) => (double[N,4] y) { a = Cast <to = 1> (x) y = Cast <to = 11> (a) }',
    ops: 'Cast',
  },
  {
    rule: 'merge-casts',
    label: 'through a narrower type',
    graph: '(float[N,4] x) => (float[N,4] y) { a = Cast <to = 6> (x) y = Cast <to = 1> (a) }',
    ops: 'Cast Cast',
    miss: /loses precision/,
  },
  {
    rule: 'merge-slices',
    graph: `(float[N,6,6] x) => (float[N,2,3] y) { s = Constant <value_ints = [1]> () e = Constant <value_ints = [3]> () f = Constant <value_ints = [4]> ()
      a = Constant <value_ints = [1]> () b = Constant <value_ints = [2]> () t = Slice (x, s, e, a) y = Slice (t, s, f, b) }`,
    ops: 'Slice',
  },
  {
    rule: 'merge-slices',
    label: 'of the same axis',
    graph: `(float[N,6] x) => (float[N,1] y) { s = Constant <value_ints = [1]> () e = Constant <value_ints = [3]> ()
      f = Constant <value_ints = [2]> () a = Constant <value_ints = [1]> () t = Slice (x, s, e, a) y = Slice (t, s, f, a) }`,
    ops: 'Slice Slice',
    miss: /same axis/,
  },
  {
    rule: 'merge-concats',
    graph: '(float[N,4] x, float[N,2] z) => (float[N,10] y) { a = Concat <axis = 1> (x, z) y = Concat <axis = -1> (a, x) }',
    ops: 'Concat',
  },
  {
    rule: 'merge-scalar-arithmetic',
    graph: '(float[N,4] x, float c_a, float c_b) => (float[N,4] y) { t = Mul (x, c_a) y = Mul (t, c_b) }',
    ops: 'Mul',
  },
  {
    rule: 'merge-relu-clip',
    graph: '(float[N,4] x, float c_zero_l, float c_one_h) => (float[N,4] y) { a = Relu (x) y = Clip (a, c_zero_l, c_one_h) }',
    ops: 'Clip',
  },
  {
    rule: 'merge-reshapes',
    label: 'with a dynamic batch',
    graph: `(float[N,3,4] x) => (float[N,12,1] y) { s = Constant <value_ints = [0,12]> () i = Constant <value_ints = [2]> ()
      a = Reshape (x, s) y = Unsqueeze (a, i) }`,
    ops: 'Reshape',
  },
  {
    rule: 'fold-reshape-target',
    label: 'computed from the shape of the input',
    graph: `(float[N,S,8] x) => (float[N,S,2,4] y) { i = Constant <value_int = 0> () j = Constant <value_int = 1> () z = Constant <value_ints = [0]> ()
      t = Constant <value_ints = [2,4]> () h = Shape (x) n = Gather (h, i) l = Gather (h, j) a = Unsqueeze (n, z) b = Unsqueeze (l, z)
      s = Concat <axis = 0> (a, b, t) y = Reshape (x, s) }`,
    ops: 'Reshape',
  },
  {
    rule: 'fold-reshape-target',
    label: 'of which two dimensions are open',
    graph: '(float[N,S,8] x, int64[3] s) => (float[A,B,C] y) { y = Reshape (x, s) }',
    ops: 'Reshape',
    miss: /only known at run time/,
  },
  {
    rule: 'fold-expand-target',
    graph: `(float[N,1,4] x) => (float[N,3,4] y) { i = Constant <value_int = 0> () z = Constant <value_ints = [0]> () t = Constant <value_ints = [3,4]> ()
      h = Shape (x) n = Gather (h, i) a = Unsqueeze (n, z) s = Concat <axis = 0> (a, t) y = Expand (x, s) }`,
    ops: 'Expand',
  },
  {
    rule: 'merge-transposes',
    graph: '(float[N,3,4] x) => (float[4,N,3] y) { a = Transpose <perm = [0,2,1]> (x) y = Transpose <perm = [1,0,2]> (a) }',
    ops: 'Transpose',
  },
  {
    rule: 'cancel-transposes',
    graph: `(float[N,3,4] x, float c_k) => (float[N,3,4] y) { a = Transpose <perm = [0,2,1]> (x) b = Sigmoid (a) c = Mul (b, c_k)
      y = Transpose <perm = [0,2,1]> (c) }`,
    ops: 'Sigmoid Mul',
  },
  {
    rule: 'transpose-to-reshape',
    graph: `(float[N,1,4,5] x) => (float[N,20] y) { a = Transpose <perm = [0,2,3,1]> (x) y = Flatten <axis = 1> (a) }`,
    ops: 'Reshape',
  },
  {
    rule: 'fold-pad',
    graph: `(float[N,2,6,6] x, float[3,2,3,3] c_w) => (float[N,3,6,6] y) { p = Constant <value_ints = [0,0,1,1,0,0,1,1]> () a = Pad (x, p) y = Conv (a, c_w) }`,
    ops: 'Conv',
  },
  {
    rule: 'fold-pad',
    label: 'of ones',
    graph: `(float[N,2,6,6] x, float[3,2,3,3] c_w, float c_one_v) => (float[N,3,6,6] y) { p = Constant <value_ints = [0,0,1,1,0,0,1,1]> ()
      a = Pad (x, p, c_one_v) y = Conv (a, c_w) }`,
    ops: 'Pad Conv',
    miss: /padding value is 1/,
  },
  {
    rule: 'fold-pad',
    label: 'into average pooling',
    graph: `(float[N,2,6,6] x) => (float[N,2,4,4] y) { p = Constant <value_ints = [0,0,1,1,0,0,1,1]> () a = Pad (x, p)
      y = AveragePool <kernel_shape = [2,2], strides = [2,2]> (a) }`,
    ops: 'AveragePool',
  },
  {
    rule: 'fold-affine-into-linear',
    label: 'BatchNormalization behind Conv',
    graph: `(float[N,2,5,5] x, float[4,2,3,3] c_w, float[4] c_s, float[4] c_b, float[4] c_m, float[4] c_pos_v) => (float[N,4,3,3] y) {
      a = Conv (x, c_w) y = BatchNormalization (a, c_s, c_b, c_m, c_pos_v) }`,
    ops: 'Conv',
  },
  {
    rule: 'fold-affine-into-linear',
    label: 'BatchNormalization behind grouped ConvTranspose',
    graph: `(float[N,4,5,5] x, float[4,3,3,3] c_w, float[6] c_c, float[6] c_s, float[6] c_b, float[6] c_m, float[6] c_pos_v) => (float[N,6,7,7] y) {
      a = ConvTranspose <group = 2> (x, c_w, c_c) y = BatchNormalization (a, c_s, c_b, c_m, c_pos_v) }`,
    ops: 'ConvTranspose',
  },
  {
    rule: 'fold-affine-into-linear',
    label: 'Mul and Add behind Gemm',
    graph: `(float[N,4] x, float[3,4] c_w, float[3] c_b, float[3] c_s, float[1,3] c_t) => (float[N,3] y) {
      a = Gemm <transB = 1, beta = 0.5> (x, c_w, c_b) m = Mul (a, c_s) y = Add (c_t, m) }`,
    ops: 'Gemm',
  },
  {
    rule: 'fold-affine-into-linear',
    label: 'where the weight has another user',
    graph: `(float[N,2,5,5] x, float[4,2,1,1] c_w, float[4,1,1] c_s) => (float[N,4,5,5] y, float[N,4,5,5] z) {
      a = Conv (x, c_w) y = Mul (a, c_s) u = Relu (x) z = Conv (u, c_w) }`,
    ops: 'Conv Mul Relu Conv',
    miss: /another user/,
  },
  {
    rule: 'fold-affine-into-linear',
    label: 'constant along another axis',
    graph: '(float[N,2,5,5] x, float[4,2,1,1] c_w, float[5] c_s) => (float[N,4,5,5] y) { a = Conv (x, c_w) y = Mul (a, c_s) }',
    ops: 'Conv Mul',
    miss: /not one value for each of 4 channels/,
  },
  {
    rule: 'fold-affine-before-linear',
    label: 'BatchNormalization before grouped Conv',
    graph: `(float[N,4,5,5] x, float[6,2,3,3] c_w, float[4] c_s, float[4] c_b, float[4] c_m, float[4] c_pos_v) => (float[N,6,3,3] y) {
      a = BatchNormalization (x, c_s, c_b, c_m, c_pos_v) y = Conv <group = 2> (a, c_w) }`,
    ops: 'Conv',
  },
  {
    rule: 'fold-affine-before-linear',
    label: 'shift before padding',
    graph:
      '(float[N,2,5,5] x, float[6,2,3,3] c_w, float[2,1,1] c_s) => (float[N,6,5,5] y) { a = Add (x, c_s) y = Conv <pads = [1,1,1,1]> (a, c_w) }',
    ops: 'Add Conv',
    miss: /padding/,
  },
  {
    rule: 'fold-affine-before-linear',
    label: 'Sub before Gemm',
    graph:
      '(float[N,4] x, float[4,3] c_w, float[3] c_b, float[4] c_s) => (float[N,3] y) { a = Sub (x, c_s) y = Gemm <alpha = 2.0> (a, c_w, c_b) }',
    ops: 'Gemm',
  },
  {
    rule: 'fuse-layer-norm',
    graph: `(float[N,3,8] x) => (float[N,3,8] y) {${LAYER_NORM} y = Relu (n) }`,
    ops: 'LayerNormalization Relu',
  },
  {
    rule: 'fold-affine-into-layer-norm',
    graph: `(float[N,3,8] x, float[8] c_s, float[8] c_b) => (float[N,3,8] y) {${LAYER_NORM} t = Mul (n, c_s) y = Add (t, c_b) }`,
    ops: 'LayerNormalization',
  },
  {
    rule: 'fuse-layer-norm',
    label: 'at an opset without it',
    opset: 14,
    options: { opset: 0 },
    graph: `(float[N,3,8] x) => (float[N,3,8] y) { two = Constant <value_float = 2.0> () eps = Constant <value_float = 0.00001> ()
      m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) p = Pow (d, two) v = ReduceMean <axes = [-1]> (p) e = Add (v, eps) r = Sqrt (e) y = Div (d, r) }`,
    ops: 'ReduceMean Sub Pow ReduceMean Add Sqrt Div',
    miss: /needs opset 17/,
  },
  {
    rule: 'fuse-layer-norm-folded',
    graph: `(float[N,3,8] x, float[8] c_s, float[8] c_b) => (float[N,3,8] y) { axes = Constant <value_ints = [-1]> ()
      eps = Constant <value_float = 0.001> () m = ReduceMean (x, axes) d = Sub (x, m) q = Mul (d, d) v = ReduceMean (q, axes) e = Add (v, eps)
      r = Sqrt (e) i = Reciprocal (r) k = Mul (i, c_s) a = Mul (x, k) g = Mul (m, k) h = Sub (c_b, g) y = Add (a, h) }`,
    ops: 'LayerNormalization',
  },
  {
    rule: 'fuse-rms-norm',
    label: 'below opset 23',
    graph: `(float[N,3,8] x, float[8] c_s) => (float[N,3,8] y) { axes = Constant <value_ints = [-1]> () eps = Constant <value_float = 0.00001> ()
      q = Mul (x, x) v = ReduceMean (q, axes) e = Add (v, eps) r = Sqrt (e) n = Div (x, r) y = Mul (n, c_s) }`,
    ops: 'Mul ReduceMean Add Sqrt Div Mul',
    miss: /needs opset 23/,
  },
  {
    rule: 'fuse-rms-norm',
    options: { opset: 23 },
    graph: `(float[N,3,8] x, float[8] c_s) => (float[N,3,8] y) { axes = Constant <value_ints = [-1]> () eps = Constant <value_float = 0.00001> ()
      q = Mul (x, x) v = ReduceMean (q, axes) e = Add (v, eps) r = Sqrt (e) n = Div (x, r) y = Mul (n, c_s) }`,
    ops: 'RMSNormalization',
  },
  {
    rule: 'fuse-gelu',
    graph: `(float[N,8] x) => (float[N,8] y) { s = Constant <value_float = 1.4142135> () o = Constant <value_float = 1.0> () h = Constant <value_float = 0.5> ()
      d = Div (x, s) e = Erf (d) a = Add (e, o) m = Mul (x, a) y = Mul (m, h) }`,
    ops: 'Gelu',
  },
  {
    rule: 'fuse-gelu',
    label: 'whose inner part is also read',
    graph: `(float[N,8] x) => (float[N,8] y, float[N,8] e) { s = Constant <value_float = 1.4142135> () o = Constant <value_float = 1.0> ()
      h = Constant <value_float = 0.5> () d = Div (x, s) e = Erf (d) a = Add (e, o) m = Mul (x, a) y = Mul (m, h) }`,
    ops: 'Div Erf Add Mul Mul',
    miss: /also read elsewhere/,
  },
  {
    rule: 'fuse-gelu-tanh',
    graph: `(float[N,8] x) => (float[N,8] y) { k = Constant <value_float = 0.044715> () c = Constant <value_float = 0.7978846> () o = Constant <value_float = 1.0> ()
      h = Constant <value_float = 0.5> () t = Constant <value_float = 3.0> () p = Pow (x, t) a = Mul (p, k) b = Add (x, a) d = Mul (b, c) e = Tanh (d)
      f = Add (o, e) g = Mul (h, x) y = Mul (g, f) }`,
    ops: 'Gelu',
  },
  {
    rule: 'fuse-hard-swish',
    graph: `(float[N,8] x) => (float[N,8] y) { t = Constant <value_float = 3.0> () l = Constant <value_float = 0.0> () s = Constant <value_float = 6.0> ()
      a = Add (x, t) b = Clip (a, l, s) c = Div (b, s) y = Mul (x, c) }`,
    ops: 'HardSwish',
  },
  {
    rule: 'fuse-hard-sigmoid',
    graph: `(float[N,8] x) => (float[N,8] y) { t = Constant <value_float = 3.0> () l = Constant <value_float = 0.0> () s = Constant <value_float = 6.0> ()
      a = Add (x, t) b = Clip (a, l, s) y = Div (b, s) }`,
    ops: 'HardSigmoid',
  },
  {
    rule: 'fuse-clipped-ramp',
    graph: `(float[N,8] x) => (float[N,8] y) { l = Constant <value_float = 0.0> () s = Constant <value_float = 6.0> () b = Clip (x, l, s) y = Div (b, s) }`,
    ops: 'HardSigmoid',
  },
  { rule: 'fuse-mish', graph: '(float[N,8] x) => (float[N,8] y) { a = Softplus (x) b = Tanh (a) y = Mul (x, b) }', ops: 'Mish' },
  {
    rule: 'fuse-silu',
    options: { contrib: true },
    graph: '(float[N,8] x) => (float[N,8] y) { a = Sigmoid (x) y = Mul (x, a) }',
    ops: 'com.microsoft.QuickGelu',
  },
  {
    rule: 'matmul-add-to-gemm',
    graph: '(float[N,4] x, float[4,3] c_w, float[3] c_b) => (float[N,3] y) { a = MatMul (x, c_w) y = Add (c_b, a) }',
    ops: 'Gemm',
  },
  {
    rule: 'matmul-add-to-gemm',
    label: 'of three dimensions',
    graph: '(float[N,2,4] x, float[4,3] c_w, float[3] c_b) => (float[N,2,3] y) { a = MatMul (x, c_w) y = Add (c_b, a) }',
    ops: 'MatMul Add',
    miss: /two dimensions/,
  },
  {
    rule: 'fold-transpose-into-gemm',
    graph: '(float[4,N] x, float[4,3] c_w) => (float[N,3] y) { t = Transpose <perm = [1,0]> (x) y = Gemm (t, c_w) }',
    ops: 'Gemm',
  },
  {
    rule: 'unflatten-matmul',
    graph: `(float[N,3,4] x, float[4,5] c_w) => (float[N,3,5] y) { f = Constant <value_ints = [-1,4]> () s = Constant <value_ints = [-1,3,5]> ()
      a = Reshape (x, f) b = MatMul (a, c_w) y = Reshape (b, s) }`,
    ops: 'MatMul',
  },
  {
    rule: 'fold-transpose-into-weight',
    graph: `(float[N,3,2,2] x, float[12,5] c_w, float[5] c_b) => (float[N,5] y) { t = Transpose <perm = [0,2,3,1]> (x) f = Flatten (t) y = Gemm (f, c_w, c_b) }`,
    ops: 'Flatten Gemm',
  },
  {
    rule: 'slices-to-split',
    graph: `(float[N,6] x) => (float[N,3] y) { z = Constant <value_ints = [0]> () o = Constant <value_ints = [1]> () t = Constant <value_ints = [3]> ()
      s = Constant <value_ints = [6]> () u = Relu (x) a = Slice (u, z, t, o) b = Slice (u, t, s, o) y = Mul (a, b) }`,
    ops: 'Relu Split Mul',
  },
  {
    rule: 'fold-resize-target',
    graph: `(float[N,2,4,4] x) => (float[N,2,8,8] y) { z = Constant <value_ints = [0]> () t = Constant <value_ints = [2]> () k = Constant <value_ints = [8,8]> ()
      h = Shape (x) a = Slice (h, z, t, z) s = Concat <axis = 0> (a, k) y = Resize <mode = "linear"> (x, , , s) }`,
    ops: 'Resize',
  },
  {
    rule: 'remove-expand-before-broadcast',
    graph: `(float[N,S] x, float[1,S] m) => (float[N,S] y) { h = Shape (x) e = Expand (m, h) y = Add (x, e) }`,
    ops: 'Add',
  },
  { rule: 'add-of-negative', graph: '(float[N,4] x, float[N,4] z) => (float[N,4] y) { n = Neg (z) y = Add (n, x) }', ops: 'Sub' },
  {
    rule: 'fold-scale-into-projection',
    label: 'of attention',
    graph: `(float[N,S,8] x, float[8,8] c_q, float[8] c_b, float[8,8] c_k) => (float[N,2,S,S] y) { r = Constant <value_ints = [0,0,2,4]> ()
      s = Constant <value_float = 0.5> () q = MatMul (x, c_q) b = Add (q, c_b) k = MatMul (x, c_k) qr = Reshape (b, r) kr = Reshape (k, r)
      qt = Transpose <perm = [0,2,1,3]> (qr) kt = Transpose <perm = [0,2,3,1]> (kr) m = MatMul (qt, kt) y = Mul (m, s) }`,
    ops: 'MatMul Add MatMul Reshape Reshape Transpose Transpose MatMul',
  },
  {
    rule: 'fold-scale-into-projection',
    label: 'of a product with a constant',
    graph:
      '(float[N,S,8] x, float[8,8] c_q) => (float[N,S,8] y) { s = Constant <value_ints = [2]> () f = Cast <to = 1> (s) q = MatMul (x, c_q) y = Mul (q, f) }',
    ops: 'MatMul',
    miss: /^$/,
  },
  {
    rule: 'remove-split',
    graph: '(float[N,4] x) => (float[N,4] y) { a = Split <axis = 1, num_outputs = 1> (x) y = Relu (a) }',
    ops: 'Relu',
  },
  {
    rule: 'fold-integer-times-zero',
    graph:
      '(int64 n, float[2,4] x) => (float[2,4] y) { z = Constant <value_int = 0> () a = Mul (n, z) f = Cast <to = 1> (a) b = Add (x, f) y = Relu (b) }',
    ops: 'Relu',
  },
  {
    rule: 'fuse-quick-gelu',
    options: { contrib: true },
    graph: '(float[N,8] x) => (float[N,8] y) { k = Constant <value_float = 1.702> () m = Mul (x, k) a = Sigmoid (m) y = Mul (x, a) }',
    ops: 'com.microsoft.QuickGelu',
  },
  {
    rule: 'fuse-attention',
    label: 'with a mask over keys',
    options: { contrib: true },
    graph: `(float[N,S,8] q, float[N,S,8] k, float[N,S,8] v, float[N,1,1,S] m) => (float[N,S,8] y) { r = Constant <value_ints = [0,0,2,4]> ()
      o = Constant <value_ints = [0,0,8]> () s = Constant <value_float = 0.5> () qr = Reshape (q, r) kr = Reshape (k, r) vr = Reshape (v, r)
      qt = Transpose <perm = [0,2,1,3]> (qr) kt = Transpose <perm = [0,2,3,1]> (kr) vt = Transpose <perm = [0,2,1,3]> (vr) a = MatMul (qt, kt)
      b = Mul (a, s) c = Add (b, m) p = Softmax <axis = -1> (c) x = MatMul (p, vt) t = Transpose <perm = [0,2,1,3]> (x) y = Reshape (t, o) }`,
    ops: 'Shape Concat Expand com.microsoft.MultiHeadAttention',
  },
  {
    rule: 'fuse-attention',
    label: 'over queries instead of keys',
    options: { contrib: true },
    graph: `(float[N,S,8] q, float[N,S,8] k, float[N,S,8] v) => (float[N,S,8] y) { r = Constant <value_ints = [0,0,2,4]> ()
      o = Constant <value_ints = [0,0,8]> () qr = Reshape (q, r) kr = Reshape (k, r) vr = Reshape (v, r)
      qt = Transpose <perm = [0,2,1,3]> (qr) kt = Transpose <perm = [0,2,3,1]> (kr) vt = Transpose <perm = [0,2,1,3]> (vr) a = MatMul (qt, kt)
      p = Softmax <axis = 2> (a) x = MatMul (p, vt) t = Transpose <perm = [0,2,1,3]> (x) y = Reshape (t, o) }`,
    ops: 'Reshape Reshape Reshape Transpose Transpose Transpose MatMul Softmax MatMul Transpose Reshape',
    miss: /not over the keys/,
  },
  {
    rule: 'merge-slices',
    label: 'to the end, written as 2^63-1',
    graph: `(float[N,6,6] x) => (float[N,5,3] y) { s = Constant <value_ints = [1]> () e = Constant <value = int64[1] {9223372036854775807}> ()
      t = Constant <value_ints = [3]> () a = Constant <value_ints = [1]> () b = Constant <value_ints = [2]> () u = Slice (x, s, e, a) y = Slice (u, t, e, b) }`,
    ops: 'Slice',
  },
];
