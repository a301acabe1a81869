// Numbers as people read them, in a terminal or a report.

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const;
const COUNT_UNITS = ['', 'k', 'M', 'G', 'T'] as const;

/** 4,231 -> "4.23 kB" (decimal units, as file managers and download sizes use). */
export function formatBytes(bytes: number): string {
  return scaled(bytes, BYTE_UNITS, ' ');
}

/** 25,557,032 -> "25.6 M". */
export function formatCount(count: number | null | undefined): string {
  return count === null || count === undefined ? '?' : scaled(count, COUNT_UNITS, ' ').trimEnd();
}

function scaled(value: number, units: readonly string[], gap: string): string {
  let v = Math.abs(value);
  let unit = 0;
  while (v >= 999.5 && unit < units.length - 1) {
    v /= 1000;
    unit++;
  }
  const digits = unit === 0 ? String(Math.round(v)) : v >= 99.95 ? v.toFixed(0) : v >= 9.995 ? v.toFixed(1) : v.toFixed(2);
  return `${value < 0 ? '-' : ''}${digits}${gap}${units[unit]}`;
}

export function formatMs(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms >= 100 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(2) : ms.toFixed(3)} ms`;
}

/** Significant digits for any figure: 0.00012345 -> "1.234e-4", 12.345 -> "12.35". */
export function formatNumber(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined) return '-';
  if (!Number.isFinite(value)) return String(value);
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(digits)));
}

/** Fraction as a percentage: 0.8041 -> "80.41 %". */
export function formatPercent(fraction: number, digits = 2): string {
  return `${(fraction * 100).toFixed(digits)} %`;
}

/** "0.27x" with the direction spelled out by the caller. */
export function formatRatio(after: number, before: number): string {
  if (before === 0) return '-';
  return `${(after / before).toFixed(after / before < 0.1 ? 3 : 2)}x`;
}

/** Fractions of accuracies are shown in percent, everything else as it is. */
export function formatQuality(metric: string, value: number): string {
  return ['top1', 'top5', 'agreement', 'f1'].includes(metric) ? formatPercent(value) : formatNumber(value, 5);
}

/** Ratio of a time to the one before: 0.5 is "2.00x faster". */
export function formatSpeed(ratio: number): string {
  return ratio <= 1 ? `${(1 / ratio).toFixed(2)}x faster` : `${ratio.toFixed(2)}x slower`;
}
