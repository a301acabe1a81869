// The page on operator coverage, made from the operator records.

const QUANT = {
  compute: 'weights and activations',
  arithmetic: 'arithmetic',
  function: 'own range',
  passthrough: 'same range',
  clamp: 'absorbed',
  lookup: 'table rows',
};

const COST = { axes: 'from axes', elementwise: 'one an element', none: 'moves data' };

/** @param record an OpRecord */
function row(record) {
  const quant = typeof record.quant === 'function' ? 'by attributes' : record.quant === 'none' ? 'none' : QUANT[record.quant.kind];
  const axes = typeof record.axes === 'function' ? 'by shapes' : record.axes === 'opaque' ? 'opaque' : `\`${record.axes}\``;
  const cost = typeof record.cost === 'function' ? 'formula' : COST[record.cost];
  return [record.opType, record.since, record.grad === 'none' ? 'none' : 'yes', axes, quant, cost];
}

/** Markdown of docs/operators.md from ALL_OPS. */
export function operatorTable(ops) {
  const domains = [...new Set(ops.map((r) => r.domain))].sort();
  const lines = [
    '# Operators',
    '',
    '<!-- Made by `npm run docs` from the records in src/ops. Do not edit. -->',
    '',
    `Pare knows ${ops.length} operators: it infers the types of their results, with symbolic dimensions and through shape arithmetic. Models with other operators`,
    'can be read, profiled in part and written; the nodes concerned are listed.',
    '',
    '- **since**: first opset version of the domain whose form is understood; later forms are too.',
    '- **grad**: whether the gradient is known.',
    '- **axes**: how axes of inputs and outputs relate (see `Axes` in `src/ops/op.ts`): a fixed statement, one that follows from attributes and shapes, or opaque.',
    '- **quant**: what quantization may do: weights and activations in integers, arithmetic on ranges of their own, a function with a range of its own, the range of',
    '  its input passed through, absorbed into its producer, rows of a table, or nothing.',
    '- **cost**: how multiply-accumulates and operations are counted.',
  ];
  for (const domain of domains) {
    const records = ops.filter((r) => r.domain === domain).sort((a, b) => (a.opType < b.opType ? -1 : 1));
    lines.push(
      '',
      `## ${domain === '' ? 'ai.onnx' : domain} (${records.length})`,
      '',
      '| operator | since | grad | axes | quant | cost |',
      '| --- | --- | --- | --- | --- | --- |',
    );
    for (const record of records) lines.push(`| ${row(record).join(' | ')} |`);
  }
  return `${lines.join('\n')}\n`;
}
