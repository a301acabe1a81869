// Bars of the foundation: every shared model through every command, accuracy of quantization, time and memory, round trip, sizes.
// `npm run bench:foundation -- NAME...` runs only the named bars. Needs `npm run build`; real models come from PARE_DATA.
import { existsSync } from 'node:fs';
import { accuracyBars } from './foundation/accuracy.js';
import { modelBars } from './foundation/models.js';
import { packageBars } from './foundation/package.js';
import { roundTripBars } from './foundation/round-trip.js';
import { speedBars } from './foundation/speed.js';
import { finish } from './lib/bars.js';
import { DATA } from './lib/pare.js';

if (existsSync(DATA)) {
  modelBars();
  accuracyBars();
  await roundTripBars();
} else console.log(`skipped: bars on real models, no folder ${DATA} (set PARE_DATA)`);
await speedBars();
packageBars();
finish();
