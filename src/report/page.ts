// The frame of every report: title, style, and a policy that forbids scripts and network.
import { escapeHtml } from './escape.js';
import { STYLE } from './style.js';

/** A whole page. `subtitle` and `sections` are HTML already. */
export function page(title: string, subtitle: string, sections: readonly string[]): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>
<h1>${escapeHtml(title)}</h1>
<p class="sub">${subtitle}</p>
${sections.filter((s) => s !== '').join('\n')}
</body></html>
`;
}

/** One figure with its label and what it was before. */
export function card(label: string, value: string, note: string, tone: '' | 'good' | 'bad' = ''): string {
  return `<div class="card"><small>${escapeHtml(label)}</small><b class="${tone}">${escapeHtml(value)}</b><small>${escapeHtml(note)}</small></div>`;
}

export function cardRow(cards: readonly string[]): string {
  return `<div class="cards">${cards.join('')}</div>`;
}
