// Bars of pruning: `npm run bench:prune -- NAME...` runs those named. Models and data come from PARE_DATA.
import { finish } from './lib/bars.js';
import { recovery } from './prune/recovery.js';
import { structured } from './prune/structured.js';
import { unstructured } from './prune/unstructured.js';

await structured();
unstructured();
await recovery();
finish();
