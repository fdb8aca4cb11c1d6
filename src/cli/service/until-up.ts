import { pause, systemClock } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { readWorkerStatuses, type WorkerSays } from '../worker-status.js';
import type { Keeper } from './keeper.js';

/** A Pi needs a while to load everything. */
const UP_MS = 30_000;
const POLL_MS = 100;

/** Rejects with `service-failed`. The Worker itself must say that it lives: a keeper calls a program active that is about to refuse its options. */
export async function untilUp(keeper: Keeper, home: string, since: number): Promise<WorkerSays> {
  const until = systemClock.now() + UP_MS;
  let before: number | undefined;
  for (;;) {
    const { pid, restarts = 0, detail } = await keeper.state();
    const says = readWorkerStatuses(home).find((one) => one.pid === pid && one.startedAt >= since);
    if (says !== undefined) return says;
    before ??= restarts;
    // Started anew before it could say anything: it will go on like that.
    if (systemClock.now() > until || restarts > before) throw new PeerworkError('service-failed', `the Worker does not come up: ${detail}`);
    await pause(systemClock, POLL_MS);
  }
}
