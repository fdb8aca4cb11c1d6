import { type Clock, pause } from '../../../clock.js';
import { asPeerworkError } from '../../../errors.js';
import type { Log } from '../../../log.js';
import type { DoryApi } from './api.js';
import type { HelperExit } from './shapes.js';
import type { SharedMarks } from './shared-marks.js';
import type { DoryTiming } from './timing.js';

export interface HelperWatchOptions {
  readonly workerId: string;
  readonly api: DoryApi;
  readonly marks: Pick<SharedMarks, 'alive'>;
  readonly timing: DoryTiming;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether this Worker helps with the run besides, which it began before it became the coordinator. */
  readonly helpsToo: (runId: string) => boolean;
}

/** The coordinator's view of those who help. */
export class HelperWatch {
  readonly #options: HelperWatchOptions;

  constructor(options: HelperWatchOptions) {
    this.#options = options;
  }

  /**
   * Waits until nobody helps with the run any more, and says how those who did have ended; undefined if the signal aborts first. A helper
   * that is not heard of any more is not waited for, and nobody longer than the run may last. One of whom the API says no more than an id
   * is heard of by its sign of life in the run queue's Redis; one that gives none (it is no peerwork) has `waitGraceMs`: its containers
   * run dry when those of the coordinator do.
   */
  async left(runId: string, timeoutSecs: number | undefined, signal: AbortSignal): Promise<readonly HelperExit[] | undefined> {
    const { clock, timing, log } = this.#options;
    const atMostMs = timeoutSecs === undefined ? timing.untimedWaitMs : timeoutSecs * 1_000 + timing.waitGraceMs;
    const startedAt = clock.now();
    const until = startedAt + atMostMs;
    for (let told = ''; ; ) {
      const { helping, exits } = await this.#look(runId, signal, clock.now() < startedAt + timing.waitGraceMs);
      if (signal.aborted) return undefined;
      if (helping.length === 0) return exits;
      if (clock.now() >= until) {
        log.warn('a run ends without waiting for its helpers', {
          run: runId,
          helpers: helping.join(' '),
          hint: 'Check the named Workers: they are still crawling, or have lost the API.',
        });
        return exits;
      }
      if (told !== helping.join(' ')) log.info('a run waits for its helpers', { run: runId, helpers: helping.join(' ') });
      told = helping.join(' ');
      await pause(clock, timing.pollMs, signal);
      if (signal.aborted) return undefined;
    }
  }

  /** `patient`: who cannot be heard of is waited for as well. */
  async #look(runId: string, signal: AbortSignal, patient: boolean): Promise<{ helping: readonly string[]; exits: readonly HelperExit[] }> {
    const { api, workerId, marks, clock, timing, log, helpsToo } = this.#options;
    try {
      const run = (await api.distributedRuns(signal)).find((each) => each.runId === runId);
      const others = (run?.participants ?? []).filter((each) => each.workerId !== workerId || helpsToo(runId));
      const bare = others.filter(({ heartbeatAt }) => heartbeatAt === undefined).map((each) => each.workerId);
      const alive = await marks.alive(bare);
      const helping = others.filter((each) =>
        each.heartbeatAt === undefined ? patient || alive.has(each.workerId) : clock.wall() - each.heartbeatAt < timing.staleMs,
      );
      return { helping: helping.map((each) => each.workerId), exits: run?.exits ?? [] };
    } catch (thrown) {
      const error = asPeerworkError(thrown);
      log.debug('who helps with a run could not be asked', { run: runId, error });
      // With a key that is refused nobody will ever be seen to leave.
      return { helping: error.code === 'dory-key-refused' ? [] : ['(unknown)'], exits: [] };
    }
  }
}
