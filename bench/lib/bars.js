// Bars of the benchmarks: each prints `NAME: VALUE (bar >= X)` or `<=`, with ` SHORT` where it is missed; a run with a short bar exits 1.

const names = process.argv.slice(2);
let short = 0;

/** True where this bar (or a group starting with its name) was asked for; all are where none was named. */
export function wanted(name) {
  return names.length === 0 || names.some((n) => name === n || name.startsWith(`${n}-`) || n.startsWith(`${name}-`));
}

export function atLeast(name, value, bar, unit = '') {
  report(name, value, '>=', bar, unit, value >= bar);
}

export function atMost(name, value, bar, unit = '') {
  report(name, value, '<=', bar, unit, value <= bar);
}

/** A figure without a bar. */
export function figure(name, value) {
  console.log(`${name}: ${value}`);
}

function report(name, value, relation, bar, unit, met) {
  const text = typeof value === 'number' ? String(Number(value.toPrecision(5))) : String(value);
  console.log(`${name}: ${text}${unit && ` ${unit}`} (bar ${relation} ${bar}${unit && ` ${unit}`})${met ? '' : ' SHORT'}`);
  if (!met) short++;
}

/** A check that has no number: what failed is printed. */
export function check(name, failures) {
  report(name, failures.length, '<=', 0, 'failures', failures.length === 0);
  for (const f of failures) console.log(`  ${f}`);
}

export function finish() {
  console.log(short === 0 ? 'all bars met' : `${short} bars short`);
  process.exitCode = short === 0 ? 0 : 1;
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)] : (sorted[middle - 1] + sorted[middle]) / 2;
}
