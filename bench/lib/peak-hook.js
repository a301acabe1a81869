// Preloaded into a measured process: writes its peak resident memory (kB) where PARE_BENCH_PEAK says, when it exits.
import { writeFileSync } from 'node:fs';

process.on('exit', () => writeFileSync(process.env.PARE_BENCH_PEAK, String(process.resourceUsage().maxRSS)));
