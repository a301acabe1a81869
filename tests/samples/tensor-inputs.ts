// Shorthands for sample inputs.
import type { DType } from '../../src/ir/dtype.js';
import type { SampleInput } from './op-sample.js';

/** Random content. */
export const rand = (dims: readonly number[], dtype: DType = 'float'): SampleInput => ({ dtype, dims });

/** Given content. */
export const given = (dtype: DType, dims: readonly number[], values: readonly number[]): SampleInput => ({ dtype, dims, values });

/** A one-dimensional int64 initializer, as axes, shapes and pads are written. */
export const ints = (...values: readonly number[]): SampleInput => ({ dtype: 'int64', dims: [values.length], values, constant: true });

/** The same as a graph input: its content is not known to inference. */
export const fedInts = (...values: readonly number[]): SampleInput => ({ dtype: 'int64', dims: [values.length], values });

/** A scalar initializer. */
export const scalar = (value: number, dtype: DType = 'int64'): SampleInput => ({ dtype, dims: [], values: [value], constant: true });
