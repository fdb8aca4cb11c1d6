import { randomUUID } from 'node:crypto';
import type { JobInput, Json, SettledJob } from '../job/job.js';
import type { Results } from './results.js';

/** Maximum number of unsettled inputs; the rest stays in the caller's iterable. */
const WINDOW = 1_000;

export interface MapOptions extends Omit<JobInput, 'id' | 'data'> {
  readonly signal?: AbortSignal;
}

/** An outcome of `map`, with the input that it belongs to. */
export interface MappedOutcome extends SettledJob {
  /** Index of the input, from 0. */
  readonly index: number;
}

/** Pushes each input as a job and yields its outcome, once per input, in the order in which they settle. */
export async function* mapJobs(
  inputs: Iterable<Json> | AsyncIterable<Json>,
  options: MapOptions,
  push: (jobs: readonly JobInput[]) => Promise<unknown>,
  results: Results,
  after: number,
): AsyncGenerator<MappedOutcome, void, undefined> {
  const { signal, ...defaults } = options;
  const run = randomUUID();
  const open = new Map<string, number>();
  const ended = new AbortController();
  let room: () => void = () => {};
  const pushed: { all: boolean; error?: Error } = { all: false };

  const stop = () => ended.abort();
  const fail = (error: Error) => {
    pushed.error = error;
    stop();
  };
  const feed = async () => {
    let index = 0;
    for await (const data of inputs) {
      while (open.size >= WINDOW && !ended.signal.aborted) await new Promise<void>((resolve) => (room = resolve));
      if (ended.signal.aborted) return;
      const id = `${run}-${index}`;
      open.set(id, index);
      index += 1;
      // Not awaited: the ledger commits everything that arrives within one turn together.
      push([{ ...defaults, id, data }]).catch(fail);
    }
  };
  signal?.addEventListener('abort', stop);
  void feed().then(() => {
    pushed.all = true;
    if (open.size === 0) stop();
  }, fail);
  try {
    for await (const { job } of results.follow({ after, signal: ended.signal })) {
      const index = open.get(job.id);
      if (index === undefined) continue;
      open.delete(job.id);
      room();
      yield { ...job, index };
      if (pushed.all && open.size === 0) return;
    }
    if (pushed.error !== undefined) throw pushed.error;
  } finally {
    signal?.removeEventListener('abort', stop);
    stop();
    room();
  }
}
