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
  /** Whether this Worker also helps with the run, having joined it before it became its coordinator. */
  readonly alsoHelps: (runId: string) => boolean;
}

/** Tracks the helpers of a run on behalf of its coordinator. */
export class HelperWatch {
  readonly #options: HelperWatchOptions;

  constructor(options: HelperWatchOptions) {
    this.#options = options;
  }

  /**
   * Waits until nobody helps with the run any more, and resolves with the helpers' exit codes; undefined if the signal aborts first. A
   * helper without recent heartbeats is not waited for, and no helper longer than the run may last. If the API reports only the id of a
   * helper, its sign of life in the run queue's Redis counts; a helper that leaves none (it is not peerwork) gets `waitGraceMs`, because
   * its containers run out of work when those of the coordinator do.
   */
  async left(runId: string, timeoutSecs: number | undefined, signal: AbortSignal): Promise<readonly HelperExit[] | undefined> {
    const { clock, timing, log } = this.#options;
    const atMostMs = timeoutSecs === undefined ? timing.untimedWaitMs : timeoutSecs * 1_000 + timing.waitGraceMs;
    const startedAt = clock.now();
    const until = startedAt + atMostMs;
    for (let lastLogged = ''; ; ) {
      const { helping, exits } = await this.#query(runId, signal, clock.now() < startedAt + timing.waitGraceMs);
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
      if (lastLogged !== helping.join(' ')) log.info('a run waits for its helpers', { run: runId, helpers: helping.join(' ') });
      lastLogged = helping.join(' ');
      await pause(clock, timing.pollMs, signal);
      if (signal.aborted) return undefined;
    }
  }

  /** `patient`: also counts helpers of which nothing is known. */
  async #query(
    runId: string,
    signal: AbortSignal,
    patient: boolean,
  ): Promise<{ helping: readonly string[]; exits: readonly HelperExit[] }> {
    const { api, workerId, marks, clock, timing, log, alsoHelps } = this.#options;
    try {
      const run = (await api.distributedRuns(signal)).find((each) => each.runId === runId);
      const others = (run?.participants ?? []).filter((each) => each.workerId !== workerId || alsoHelps(runId));
      const unknownAge = others.filter(({ heartbeatAt }) => heartbeatAt === undefined).map((each) => each.workerId);
      const alive = await marks.alive(unknownAge);
      const helping = others.filter((each) =>
        each.heartbeatAt === undefined ? patient || alive.has(each.workerId) : clock.wall() - each.heartbeatAt < timing.staleMs,
      );
      return { helping: helping.map((each) => each.workerId), exits: run?.exits ?? [] };
    } catch (thrown) {
      const error = asPeerworkError(thrown);
      log.debug('who helps with a run could not be asked', { run: runId, error });
      // With a rejected key, no helper would ever be seen to leave.
      return { helping: error.code === 'dory-key-refused' ? [] : ['(unknown)'], exits: [] };
    }
  }
}
