// Bars of training. `npm run bench:train -- NAME...` runs only the named bars; those of convergence take minutes each. Needs `npm run build`; data come from PARE_DATA.
import { existsSync } from 'node:fs';
import { finish } from './lib/bars.js';
import { DATA } from './lib/pare.js';
import { convergenceBars } from './train/convergence.js';
import { fineTuneBars } from './train/fine-tune.js';
import { resumeBars } from './train/resume.js';
import { speedBars } from './train/speed.js';

await speedBars();
if (existsSync(DATA)) {
  await resumeBars();
  await fineTuneBars();
  await convergenceBars();
} else console.log(`convergence, fine-tune and resume skipped: no folder ${DATA} (set PARE_DATA)`);
finish();
