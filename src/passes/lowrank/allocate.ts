// Which candidate each layer takes. Losses are weighed against cost with one price for all layers (Lagrange multiplier), so that no other choice of the
// same cost loses less; what the price leaves of the budget goes to the layers that gain most by it.
import { qualityError } from '../../errors.js';

/** One way to write a layer. */
export interface Choice {
  readonly cost: number;
  readonly loss: number;
}

/** Prices looked at while halving in on the budget. */
const HALVINGS = 60;

/**
 * Index of the choice for each layer whose costs add up to at most `budget`. The first choice of each layer is the layer as it is.
 * Throws E_QUALITY where even the cheapest choices cost more.
 */
export function allocate(layers: readonly (readonly Choice[])[], budget: number): number[] {
  const least = layers.reduce((sum, choices) => sum + Math.min(...choices.map((c) => c.cost)), 0);
  if (least > budget * (1 + 1e-9)) {
    throw qualityError(`low rank: expected a cost of ${Math.round(budget)}, got at least ${Math.round(least)}`, {
      hint: 'ask for less, allow more layers or methods, or let ranks be finer (--round-to)',
    });
  }
  const at = (price: number) => layers.map((choices) => cheapest(choices, price));
  const costOf = (chosen: readonly number[]) => chosen.reduce((sum, c, l) => sum + layers[l]![c]!.cost, 0);
  let [low, high] = [0, 1e-12];
  while (costOf(at(high)) > budget * (1 + 1e-9) && high < 1e12) high *= 10;
  for (let i = 0; i < HALVINGS; i++) {
    const middle = (low + high) / 2;
    if (costOf(at(middle)) > budget * (1 + 1e-9)) low = middle;
    else high = middle;
  }
  return fill(layers, at(high), budget);
}

function cheapest(choices: readonly Choice[], price: number): number {
  let best = 0;
  const total = (c: Choice) => c.loss + price * c.cost;
  choices.forEach((c, i) => {
    if (total(c) < total(choices[best]!)) best = i;
  });
  return best;
}

/** Better choices that still fit, the one with most gain for its cost first. */
function fill(layers: readonly (readonly Choice[])[], chosen: number[], budget: number): number[] {
  let left = budget * (1 + 1e-9) - chosen.reduce((sum, c, l) => sum + layers[l]![c]!.cost, 0);
  for (;;) {
    let best: { layer: number; choice: number; rate: number } | undefined;
    layers.forEach((choices, layer) => {
      const now = choices[chosen[layer]!]!;
      choices.forEach((c, choice) => {
        const more = c.cost - now.cost;
        const gain = now.loss - c.loss;
        if (more > left || gain <= 0) return;
        const rate = more > 0 ? gain / more : Number.POSITIVE_INFINITY;
        if (!best || rate > best.rate) best = { layer, choice, rate };
      });
    });
    if (!best) return chosen;
    left -= layers[best.layer]![best.choice]!.cost - layers[best.layer]![chosen[best.layer]!]!.cost;
    chosen[best.layer] = best.choice;
  }
}
