// An option that is a fraction of what there is or an amount with a unit: budgets of several techniques.
import { z } from 'zod';

/** `0.5`, `50M` or a number. */
export const amountOption = z
  .union([z.string(), z.number().positive()])
  .transform((given, ctx) => {
    const value = typeof given === 'number' ? given : parseAmount(given);
    if (value === undefined)
      ctx.addIssue({ code: 'custom', message: `expected a fraction such as 0.5 or an amount such as 50M, got "${given}"` });
    return value ?? z.NEVER;
  })
  .optional();

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 1e3, K: 1e3, M: 1e6, G: 1e9, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9 };

function parseAmount(text: string): number | undefined {
  const match = /^(\d+(?:\.\d*)?|\.\d+)\s*([kKMG]?B?)$/.exec(text.trim());
  const value = match ? Number(match[1]) * (UNITS[match[2]!] ?? Number.NaN) : Number.NaN;
  return value > 0 ? value : undefined;
}
