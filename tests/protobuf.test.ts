// The codec against protobufjs: what both read of the same file is the same, and protobufjs reads the same from what Pare writes.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DTYPES, type DType } from '../src/ir/dtype.js';
import { decodeModel } from '../src/onnx/decode.js';
import { encodeModel } from '../src/onnx/encode.js';
import { describeModel } from './model-equality.js';
import { type Proto, protobufDecode, protobufEncode } from './protobuf-oracle.js';
import { sharedData, sharedModels } from './shared-data.js';

/** Little-endian bytes of a tensor, from whichever field holds them. */
function tensorBytes(t: Proto): Uint8Array {
  const list = (field: string) => (t[field] ?? []) as unknown as (number | string)[];
  if (t.raw_data !== undefined) return t.raw_data;
  if (list('float_data').length > 0) return new Uint8Array(Float32Array.from(list('float_data') as number[]).buffer);
  if (list('double_data').length > 0) return new Uint8Array(Float64Array.from(list('double_data') as number[]).buffer);
  if (list('int64_data').length > 0) return new Uint8Array(BigInt64Array.from(list('int64_data'), BigInt).buffer);
  const bits = Object.values(DTYPES).find((d) => d.code === (t.data_type as unknown))!.bits;
  const values = list('int32_data').length > 0 ? list('int32_data') : list('uint64_data');
  const width = Math.max(bits, 8) / 8;
  const out = new Uint8Array(values.length * width);
  values.forEach((v, i) => {
    let rest = BigInt.asUintN(64, BigInt(v));
    for (let b = 0; b < width; b++, rest >>= 8n) out[i * width + b] = Number(rest & 255n);
  });
  return out;
}

/** A message tree with tensors in one form, lists without order where order means nothing, and empty texts, lists and types left out. */
function normal(x: unknown): unknown {
  if (x instanceof Uint8Array) return x.length > 64 ? createHash('sha1').update(x).digest('hex') : Buffer.from(x).toString('hex');
  if (Array.isArray(x)) return x.map(normal);
  if (typeof x !== 'object' || x === null) return x;
  const o = { ...(x as Record<string, unknown>) };
  if ('data_type' in o && o.data_type !== 8) {
    const raw = tensorBytes(x as Proto);
    for (const field of ['float_data', 'double_data', 'int32_data', 'int64_data', 'uint64_data', 'raw_data', 'data_location'])
      delete o[field];
    o.bytes = raw;
  }
  for (const field of ['value_info', 'initializer']) {
    if (Array.isArray(o[field])) o[field] = [...(o[field] as Proto[])].sort((a, b) => (a.name! < b.name! ? -1 : 1));
  }
  const isEmpty = (v: unknown) =>
    v === '' || (typeof v === 'object' && v !== null && Object.keys(v).length === 0 && !(v instanceof Uint8Array));
  return Object.fromEntries(
    Object.entries(o)
      .filter(([key, v]) => (!isEmpty(v) || key === 'shape') && !(key === 'model_version' && v === '0'))
      .map(([k, v]) => [k, normal(v)]),
  );
}

describe.skipIf(sharedModels().length === 0).each(sharedModels())('%s', (name) => {
  it('is read and written as protobufjs does', () => {
    const bytes = readFileSync(sharedData(name)!);
    const expected = protobufDecode(bytes) as unknown as Record<string, Record<string, unknown>>;
    const model = decodeModel(bytes);
    const actual = protobufDecode(encodeModel(model).bytes) as unknown as Record<string, Record<string, unknown>>;
    // Types of constants stand with their tensors, and types of values that do not exist are dropped.
    const inner = new Set([...model.graph.values()].filter((v) => v.producer && !v.isGraphOutput).map((v) => v.name));
    const kept = ((expected.graph!.value_info ?? []) as { name: string; type?: object }[]).filter((v) => inner.has(v.name) && v.type);
    expect(normal({ ...actual, graph: undefined })).toEqual(normal({ ...expected, graph: undefined }));
    const a = normal(actual.graph) as Record<string, unknown>;
    const e = normal({ ...expected.graph, value_info: kept }) as Record<string, unknown>;
    for (const key of Object.keys({ ...a, ...e })) expect([key, a[key]]).toEqual([key, e[key]]);
  });
});

const tensor = (dtype: DType, dims: number[], data: object, name = 'w') => ({ name, dims, data_type: DTYPES[dtype].code, ...data });
const modelOf = (graph: object, more: object = {}) => ({
  ir_version: 12,
  opset_import: [{ domain: '', version: 23 }],
  graph: { name: 'g', ...graph },
  ...more,
});
const io = (name: string, dtype: DType = 'float') => ({
  name,
  type: { tensor_type: { elem_type: DTYPES[dtype].code, shape: { dim: [{ dim_param: 'N' }] } } },
});

describe('typed data fields', () => {
  const cases: [DType, number[], object, readonly number[]][] = [
    ['float', [3], { float_data: [1, -2.5, 3e10] }, [1, -2.5, Math.fround(3e10)]],
    ['double', [2], { double_data: [0.1, -7] }, [0.1, -7]],
    ['int64', [2], { int64_data: ['-9007199254740991', 5] }, [-9007199254740991, 5]],
    ['uint64', [1], { uint64_data: ['4294967296'] }, [4294967296]],
    ['uint32', [1], { uint64_data: ['4294967295'] }, [4294967295]],
    ['int32', [2], { int32_data: [-1, 2147483647] }, [-1, 2147483647]],
    ['int16', [2], { int32_data: [-32768, 5] }, [-32768, 5]],
    ['uint16', [1], { int32_data: [65535] }, [65535]],
    ['int8', [2], { int32_data: [-128, 127] }, [-128, 127]],
    ['uint8', [1], { int32_data: [255] }, [255]],
    ['bool', [3], { int32_data: [1, 0, 1] }, [1, 0, 1]],
    ['float16', [2], { int32_data: [0x3c00, 0xc000] }, [1, -2]],
    ['bfloat16', [2], { int32_data: [0x3f80, 0xc000] }, [1, -2]],
    ['float8e4m3fn', [2], { int32_data: [0x38, 0xb8] }, [1, -1]],
    ['float8e5m2', [1], { int32_data: [0x3c] }, [1]],
    ['float8e8m0', [1], { int32_data: [128] }, [2]],
    ['uint4', [3], { int32_data: [0x21, 0x0f] }, [1, 2, 15]],
    ['int4', [3], { int32_data: [0x8f, 0x07] }, [-1, -8, 7]],
    ['float4e2m1', [2], { int32_data: [0x92] }, [1, -0.5]],
    ['uint2', [5], { int32_data: [0b11100100, 0b10] }, [0, 1, 2, 3, 2]],
    ['int2', [4], { int32_data: [0b11100100] }, [0, 1, -2, -1]],
    ['float6e2m3', [3], { int32_data: [0b001000, 0b101000, 0b011111] }, [1, -1, 7.5]],
    ['float6e3m2', [3], { int32_data: [0b001100, 0b101100, 0b011111] }, [1, -1, 28]],
    ['float', [2], { raw_data: Uint8Array.of(0, 0, 128, 63, 0, 0, 0, 64) }, [1, 2]],
  ];

  it.each(cases)('reads %s %j', (dtype, dims, data, expected) => {
    const bytes = protobufEncode(modelOf({ initializer: [tensor(dtype, dims, data)] }));
    const value = decodeModel(bytes).graph.value('w')!.initializer!;
    expect(Array.from(value.numbers())).toEqual(expected);
    const again = decodeModel(encodeModel(decodeModel(bytes)).bytes).graph.value('w')!.initializer!;
    expect(Array.from(again.bytes())).toEqual(Array.from(value.bytes()));
    // The bytes of the element types narrower than one byte are what the standard says.
    expect(value.bytes().length).toBe(Math.ceil((value.size * DTYPES[dtype].bits) / 8));
  });

  it('reads complex and string data', () => {
    const strings = [Buffer.from('a'), Buffer.from([0xff]), Buffer.from('')];
    const initializer = [
      tensor('complex64', [1], { float_data: [1, 2] }, 'c'),
      tensor('complex128', [1], { double_data: [3, 4] }, 'd'),
      tensor('string', [3], { string_data: strings }, 's'),
    ];
    const model = decodeModel(protobufEncode(modelOf({ initializer })));
    expect(Array.from(model.graph.value('c')!.initializer!.view() as Float32Array)).toEqual([1, 2]);
    expect(Array.from(model.graph.value('d')!.initializer!.view() as Float64Array)).toEqual([3, 4]);
    const written = protobufDecode(encodeModel(model).bytes).graph as unknown as {
      initializer: { name: string; string_data: Uint8Array[] }[];
    };
    const { string_data } = written.initializer.find((t) => t.name === 's')!;
    expect(string_data.map((s) => Buffer.from(s))).toEqual(strings);
  });
});

describe('everything a model can hold', () => {
  const everything = modelOf(
    {
      doc_string: 'graph text',
      metadata_props: [{ key: 'gk', value: 'gv' }],
      input: [{ ...io('x'), doc_string: 'an input', metadata_props: [{ key: 'ik', value: 'iv' }] }, io('default')],
      output: [io('y')],
      value_info: [
        {
          name: 'h',
          type: { tensor_type: { elem_type: 1, shape: { dim: [{ dim_value: 2, denotation: 'DATA_BATCH' }, {}] } }, denotation: 'IMAGE' },
        },
        {
          name: 'q',
          type: {
            sequence_type: {
              elem_type: { map_type: { key_type: 7, value_type: { optional_type: { elem_type: { tensor_type: { elem_type: 1 } } } } } },
            },
          },
        },
        { name: 'o', type: { opaque_type: { domain: 'd', name: 'n' } } },
      ],
      initializer: [
        { ...tensor('float', [1], { float_data: [4] }, 'default'), doc_string: 'a tensor', metadata_props: [{ key: 'tk', value: 'tv' }] },
        tensor('float', [1], { float_data: [5] }, 'k'),
      ],
      sparse_initializer: [
        {
          values: tensor('float', [2], { float_data: [1, 2] }, 'sp'),
          indices: tensor('int64', [2], { int64_data: [0, 3] }, ''),
          dims: [2, 2],
        },
      ],
      quantization_annotation: [{ tensor_name: 'h', quant_parameter_tensor_names: [{ key: 'SCALE_TENSOR', value: 'k' }] }],
      node: [
        {
          input: ['x', '', 'sp'],
          output: ['h', '', 'q', 'o'],
          name: 'first',
          op_type: 'Custom',
          domain: 'my.domain',
          overload: 'v2',
          doc_string: 'a node',
          metadata_props: [{ key: 'nk', value: 'nv' }],
          device_configurations: [{ configuration_id: 'two gpus', pipeline_stage: 1 }],
          attribute: [
            { name: 'f', type: 1, f: 0.5, doc_string: 'an attribute' },
            { name: 'i', type: 2, i: '-9223372036854775808' },
            { name: 's', type: 3, s: Buffer.from('text') },
            { name: 'b', type: 3, s: Buffer.from([0xff, 0]) },
            { name: 't', type: 4, t: tensor('int8', [1], { int32_data: [3] }, 'inner name') },
            { name: 'fs', type: 6, floats: [1, 2.5] },
            { name: 'is', type: 7, ints: [1, '-5', '9223372036854775807'] },
            { name: 'ss', type: 8, strings: [Buffer.from('a'), Buffer.from('b')] },
            { name: 'ts', type: 9, tensors: [tensor('float', [], { float_data: [1] }, '')] },
            { name: 'tp', type: 13, tp: { tensor_type: { elem_type: 1 } } },
            { name: 'tps', type: 14, type_protos: [{ tensor_type: { elem_type: 7, shape: {} } }] },
            {
              name: 'sp',
              type: 11,
              sparse_tensor: {
                values: tensor('float', [1], { float_data: [1] }, ''),
                indices: tensor('int64', [1], { int64_data: [0] }, ''),
                dims: [3],
              },
            },
            {
              name: 'g',
              type: 5,
              g: {
                name: 'inner',
                output: [{ name: 'z' }],
                node: [{ input: ['x'], output: ['z'], op_type: 'Neg' }],
                initializer: [tensor('float', [1], { float_data: [9] }, 'unused')],
              },
            },
            { name: 'none', type: 7 },
          ],
        },
        { input: ['h', 'k', 'default'], output: ['y'], op_type: 'Sum' },
      ],
    },
    {
      producer_name: 'p',
      producer_version: '1',
      domain: 'org.example',
      model_version: '7',
      doc_string: 'model text',
      opset_import: [
        { domain: '', version: 23 },
        { domain: 'my.domain', version: 2 },
      ],
      metadata_props: [{ key: 'mk', value: 'mv' }],
      training_info: [{ initialization: { name: 'init' }, update_binding: [{ key: 'a', value: 'b' }] }],
      configuration: [{ name: 'two gpus', num_devices: 2, device: ['0', '1'] }],
      functions: [
        {
          name: 'F',
          domain: 'my.domain',
          overload: 'v2',
          doc_string: 'function text',
          input: ['a'],
          output: ['c'],
          attribute: ['alpha'],
          attribute_proto: [{ name: 'beta', type: 1, f: 1 }],
          opset_import: [{ domain: '', version: 23 }],
          metadata_props: [{ key: 'fk', value: 'fv' }],
          value_info: [io('a')],
          node: [{ input: ['a'], output: ['c'], op_type: 'Elu', attribute: [{ name: 'alpha', type: 1, ref_attr_name: 'alpha' }] }],
        },
      ],
    },
  );

  it('comes back as it was', () => {
    const bytes = protobufEncode(everything);
    const model = decodeModel(bytes);
    const written = encodeModel(model).bytes;
    expect(normal(protobufDecode(written))).toEqual(normal(protobufDecode(bytes)));
    expect(describeModel(decodeModel(written))).toEqual(describeModel(model));
  });

  it('keeps fields of the future at every level', () => {
    const unknown = Buffer.from([0xfa, 0x3e, 3, 1, 2, 3]); // field 1007, three bytes
    const model = decodeModel(Buffer.concat([protobufEncode(everything), unknown]));
    expect(Buffer.from(model.extra.unknown!)).toEqual(unknown);
    const value = model.graph.value('x')!;
    const node = model.graph.nodes[0]!;
    value.unknown = unknown;
    node.unknown = Buffer.concat([node.unknown!, unknown]);
    model.graph.unknown = unknown;
    const again = decodeModel(encodeModel(model).bytes);
    expect(describeModel(again)).toEqual(describeModel(model));
  });
});
