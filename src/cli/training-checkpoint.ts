// The checkpoint of a command that trains: where it stands, what Ctrl-C does, and that it goes when it has served.
import { PareError } from '../errors.js';
import { systemError } from '../node/system-error.js';

export interface CheckpointedRun {
  readonly file: string;
  readonly signal: AbortSignal;
  /** From here on Ctrl-C ends the training after its step, instead of the process at once. */
  takeInterrupts(): void;
}

/** Runs a training with the checkpoint `--checkpoint`, or one beside the target, which is removed at the end. */
export async function withCheckpoint(named: string | undefined, target: string, run: (o: CheckpointedRun) => Promise<void>): Promise<void> {
  const file = named ?? `${target}.checkpoint`;
  const controller = new AbortController();
  const interrupt = () => controller.abort();
  try {
    await run({ file, signal: controller.signal, takeInterrupts: () => void process.on('SIGINT', interrupt) });
    if (named === undefined) await removeFile(file);
  } catch (error) {
    if (error instanceof PareError && error.code === 'E_ABORTED') process.stderr.write(`checkpoint: ${file}; --resume goes on from it\n`);
    throw error;
  } finally {
    process.removeListener('SIGINT', interrupt);
  }
}

async function removeFile(path: string): Promise<void> {
  const { rm } = await import('node:fs/promises');
  try {
    await rm(path, { force: true });
  } catch (error) {
    throw systemError(error, 'write', path);
  }
}
