// A thread of prefetch.ts: opens the data, then answers requests for batches one after the other. Loads no engine.
import { parentPort, workerData } from 'node:worker_threads';
import { parseAugmentations } from '../data/augment.js';
import type { Batch } from '../data/dataset.js';
import { type IndexedTrainingData, trainingData } from '../data/training.js';
import { bugError, PareError } from '../errors.js';
import type { Tensor } from '../ir/tensor.js';
import { openDataset } from './data.js';
import { readModel } from './files.js';
import type { PackedBatch, PackedError, PackedTensor, Reply, Request, WorkerData } from './prefetch-messages.js';

const port = parentPort;
if (port === null) throw bugError('the program of a reading thread was started by itself');

const { spec, model, data, training } = workerData as WorkerData;

async function open(): Promise<IndexedTrainingData> {
  const dataset = await openDataset(spec, await readModel(model), data);
  const augment = training.augment === undefined ? undefined : parseAugmentations(training.augment);
  const opened = trainingData(dataset, { ...training, augment });
  const { name, size, hasLabels, classes, notes, fixedBatch } = dataset;
  send({ facts: { name, size, hasLabels, classes, notes, fixedBatch } });
  return opened;
}

function send(reply: Reply, buffers: ArrayBuffer[] = []): void {
  port!.postMessage(reply, buffers);
}

function pack(tensor: Tensor): PackedTensor {
  const strings = tensor.dtype === 'string' ? tensor.stringBytes() : undefined;
  // A copy, because the tensor may share its memory with the data set, and memory that is handed over is gone here.
  return { dtype: tensor.dtype, dims: tensor.dims, bytes: strings ? new Uint8Array(0) : new Uint8Array(tensor.bytes()), strings };
}

function packBatch({ inputs, labels, size }: Batch): PackedBatch {
  return {
    inputs: Object.entries(inputs).map(([name, tensor]) => ({ name, tensor: pack(tensor) })),
    labels: labels && pack(labels),
    size,
  };
}

function packError(error: unknown): PackedError {
  if (!(error instanceof PareError)) return { message: error instanceof Error ? error.message : String(error) };
  const { message, code, kind, place, hint } = error;
  return { message, code, kind, place, hint };
}

/** Opens the data and answers the first message; a failure is the answer then. */
const opened = open().catch((error: unknown) => {
  send({ error: packError(error) });
  return undefined;
});

let queue: Promise<unknown> = opened;
port.on('message', ({ epoch, index, batchSize, seed }: Request) => {
  queue = queue.then(async () => {
    const source = await opened;
    if (source === undefined) return;
    try {
      const batch = packBatch(await source.batch(epoch, index, { batchSize, seed }));
      const all = [...batch.inputs.map((i) => i.tensor), ...(batch.labels ? [batch.labels] : [])];
      send({ batch }, [...new Set(all.map((t) => t.bytes.buffer))]);
    } catch (error) {
      send({ error: packError(error) });
    }
  });
});
