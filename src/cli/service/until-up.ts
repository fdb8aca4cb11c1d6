import { pause, systemClock } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { readWorkerStatuses, type WorkerReport } from '../worker-status.js';
import type { Keeper } from './keeper.js';

/** A Raspberry Pi takes a while to load everything. */
const UP_MS = 30_000;
const POLL_MS = 100;

/**
 * Resolves once the Worker itself reports that it is up: a keeper considers a program active that is about to refuse its options.
 * Rejects with `service-failed`.
 */
export async function untilUp(keeper: Keeper, home: string, since: number): Promise<WorkerReport> {
  const until = systemClock.now() + UP_MS;
  let before: number | undefined;
  for (;;) {
    const { pid, restarts = 0, detail } = await keeper.state();
    const report = readWorkerStatuses(home).find((one) => one.pid === pid && one.startedAt >= since);
    if (report !== undefined) return report;
    before ??= restarts;
    // Restarted before it could report anything, so it will keep failing.
    if (systemClock.now() > until || restarts > before) throw new PeerworkError('service-failed', `the Worker does not come up: ${detail}`);
    await pause(systemClock, POLL_MS);
  }
}
