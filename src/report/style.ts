// Style of the report: one column, system fonts, light and dark.
export const STYLE = `
:root { color-scheme: light dark; --fg: #1c1e21; --bg: #fff; --soft: #6a737d; --line: #d8dee4; --card: #f6f8fa; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6edf3; --bg: #0d1117; --soft: #8b949e; --line: #30363d; --card: #161b22; --good: #3fb950; --bad: #f85149; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); max-width: 1000px; margin: 0 auto; padding: 24px; }
h1 { font-size: 1.5em; margin: 0; } h2 { font-size: 1.15em; margin: 2em 0 .5em; border-bottom: 1px solid var(--line); padding-bottom: .2em; }
p.sub, .soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px; margin: 18px 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; }
.card b { display: block; font-size: 1.45em; } .card small { color: var(--soft); }
.good { color: var(--good); } .bad { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-size: .92em; } th, td { text-align: left; padding: 4px 8px; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { width: 100%; height: auto; display: block; } svg text { font: 11px system-ui, sans-serif; fill: var(--fg); } svg.treemap text { fill: #fff; }
svg .name, svg .end { text-anchor: end; } svg .middle { text-anchor: middle; } svg .grid { stroke: var(--line); } svg .behind { fill: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 14px; font-size: .85em; } .key i { display: inline-block; width: 10px; height: 10px; margin-right: 5px; border-radius: 2px; }
.warning { border-left: 4px solid #d29922; background: var(--card); padding: 8px 12px; margin: 8px 0; border-radius: 0 6px 6px 0; } .warning .fix { color: var(--soft); }
.histograms { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 18px; } .histograms h3 { font-size: .85em; margin: 0 0 4px; overflow-wrap: anywhere; font-weight: 600; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 10px; overflow-x: auto; font-size: .85em; }
code { font-size: .9em; }
@media (max-width: 700px) { table { display: block; overflow-x: auto; } }
details > summary { cursor: pointer; }
`;
