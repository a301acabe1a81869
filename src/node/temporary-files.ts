// Temporary files and folders of this process: removed on error, on normal exit and on SIGINT, SIGTERM and SIGHUP. After SIGKILL they stay,
// under names that cannot be taken for a result: `.name.<process id>.<number>.tmp`.
import { rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const pending = new Set<string>();
let counter = 0;
let installed = false;

/** Never throws: it runs while another error is on its way. */
function remove(path: string): void {
  try {
    rmSync(path, { force: true, recursive: true });
  } catch {
    // The folder is gone, or was none.
  }
}

function removeAll(): void {
  for (const path of pending) remove(path);
  pending.clear();
}

/** Removes the files, then lets the signal do what it would have done without us. */
function onSignal(signal: NodeJS.Signals): void {
  removeAll();
  // Where the program listens itself, it decides what happens; else the default action ends the process with the right status.
  if (process.listenerCount(signal) > 1) return;
  process.removeListener(signal, onSignal);
  process.kill(process.pid, signal);
}

/** Once and for good: a listener that came and went with each file would lose a signal that arrives just as it goes. */
function install(): void {
  if (installed) return;
  installed = true;
  process.on('exit', removeAll);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
}

/** A name beside `target`, so that renaming stays within one file system. Registered before the file exists. */
export function temporaryName(target: string): string {
  install();
  const path = join(dirname(target), `.${basename(target)}.${process.pid}.${counter++}.tmp`);
  pending.add(path);
  return path;
}

/** Forgets a temporary file that was renamed. */
export function keepTemporary(path: string): void {
  pending.delete(path);
}

/** Deletes a temporary file or folder. */
export function dropTemporary(path: string): void {
  remove(path);
  keepTemporary(path);
}
