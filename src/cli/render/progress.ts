// One line of progress on stderr with the time left; a spinner in a terminal, nothing where stderr is no terminal or `--quiet` is set.
import type { Ora } from 'ora';
import type { Progress } from '../../pass/define.js';

/** Work shorter than this shows no progress at all. */
const SILENT_MS = 400;
/** An estimate from less than this much of the work would jump about. */
const MIN_FRACTION_FOR_ETA = 0.03;

export class ProgressLine {
  readonly #quiet: boolean;
  readonly #enabled: boolean;
  readonly #begun = performance.now();
  #spinner: Ora | null = null;
  #loading = false;
  #stopped = false;
  #label = '';
  #labelStart = 0;

  constructor(enabled: boolean) {
    this.#quiet = !enabled;
    this.#enabled = enabled && process.stderr.isTTY === true;
  }

  update({ fraction, label, detail }: Progress): void {
    if (!this.#enabled) return;
    const now = performance.now();
    if (label !== this.#label) {
      this.#label = label;
      this.#labelStart = now;
    }
    if (now - this.#begun < SILENT_MS) return;
    if (!this.#spinner) {
      void this.#show();
      return;
    }
    this.#spinner.text = `${label}${detail === undefined ? '' : ` (${detail})`}${fraction === undefined ? '' : ` ${(fraction * 100).toFixed(0)} %${this.#eta(fraction, now)}`}`;
    this.#spinner.render();
  }

  /** The spinner is loaded when it is first needed: most runs end sooner. */
  async #show(): Promise<void> {
    if (this.#loading) return;
    this.#loading = true;
    const { default: ora } = await import('ora');
    if (!this.#stopped) this.#spinner = ora({ stream: process.stderr, discardStdin: false, text: this.#label }).start();
  }

  #eta(fraction: number, now: number): string {
    if (fraction < MIN_FRACTION_FOR_ETA || fraction >= 1) return '';
    const left = ((now - this.#labelStart) * (1 - fraction)) / fraction / 1000;
    return left < 1 ? '' : left < 90 ? `, ${Math.round(left)} s left` : `, ${Math.round(left / 60)} min left`;
  }

  /** A line that stays, above the progress: also where no terminal shows the rest. */
  log(text: string): void {
    if (this.#quiet) return;
    this.#spinner?.clear();
    process.stderr.write(`${text}\n`);
  }

  stop(): void {
    this.#stopped = true;
    this.#spinner?.stop();
    this.#spinner = null;
  }
}
