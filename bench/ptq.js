// Bars of post-training quantization. `npm run bench:ptq -- NAME...` runs only the named bars. Needs `npm run build`; real models come from PARE_DATA.
import { existsSync } from 'node:fs';
import { finish } from './lib/bars.js';
import { DATA } from './lib/pare.js';
import { explainBars } from './ptq/explain.js';
import { latencyBars } from './ptq/latency.js';
import { mixedBars } from './ptq/mixed.js';
import { recurrentBars } from './ptq/recurrent.js';
import { staticBars } from './ptq/static.js';
import { variantBars } from './ptq/variants.js';
import { weightBars } from './ptq/weights.js';

if (existsSync(DATA)) {
  await staticBars();
  weightBars();
  await mixedBars();
  await recurrentBars();
  await explainBars();
  await latencyBars();
  await variantBars();
} else console.log(`skipped: no folder ${DATA} (set PARE_DATA)`);
finish();
