// Bars of winning accuracy back: distillation, quantization-aware training, low rank, adapters. `npm run bench:recover -- NAME...` runs only the named bars;
// most train for minutes. Needs `npm run build`; data come from PARE_DATA.
import { existsSync } from 'node:fs';
import { finish } from './lib/bars.js';
import { DATA } from './lib/pare.js';
import { distillBars } from './recover/distill.js';
import { loraBars } from './recover/lora.js';
import { lowRankBars } from './recover/lowrank.js';
import { qatBars } from './recover/qat.js';

if (existsSync(DATA)) {
  await distillBars();
  await qatBars();
  await lowRankBars();
  await loraBars();
} else console.log(`recovery skipped: no folder ${DATA} (set PARE_DATA)`);
finish();
