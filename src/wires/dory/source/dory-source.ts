import { hostname } from 'node:os';
import type { Clock } from '../../../clock.js';
import { asPeerworkError, type PeerworkError } from '../../../errors.js';
import type { Lease } from '../../../job/source.js';
import { Deadline, orAborted } from '../../../kit/deadline.js';
import type { Log } from '../../../log.js';
import { LeasedSource } from '../../../sources/leased-source.js';
import { version } from '../../../version.js';
import { ActiveRuns } from './active-runs.js';
import { DoryApi } from './api.js';
import { Coordinator } from './coordinator.js';
import type { ApiAccess } from './credentials.js';
import { Heartbeat } from './heartbeat.js';
import { Helper } from './helper.js';
import { HelperWatch } from './helper-watch.js';
import type { Journal } from './journal.js';
import { Reporter } from './reporter.js';
import type { RunQueue } from './run-queue.js';
import type { Settings } from './settings.js';
import type { DistributedRun, HeartbeatReply } from './shapes.js';
import type { SharedMarks } from './shared-marks.js';
import type { DoryTiming } from './timing.js';

export interface DorySourceParts {
  readonly workerId: string;
  readonly access: ApiAccess;
  readonly heartbeatPath: string | undefined;
  readonly settings: Settings;
  readonly queue: RunQueue;
  readonly marks: SharedMarks;
  readonly journal: Journal;
  readonly timing: DoryTiming;
  readonly clock: Clock;
  readonly log: Log;
  readonly warning: (error: PeerworkError) => void;
}

/** Time limit for giving back runs and for the final heartbeat, in ms. */
const CLOSE_MS = 5_000;

/**
 * Takes the runs of a dory-api: from its BullMQ queue as their coordinator, and in addition as a helper of distributed runs that others
 * coordinate. Both count against MAX_CONCURRENT_RUNS, and both are taken only while the Worker has a free place.
 *
 * A claim waits for room, and then for whichever comes first: a job of the queue, or a run to join, which is discovered with a heartbeat.
 * The later one is left where it is.
 *
 * This source uses neither the outbox nor an outcome sender: the end of a run is reported to the API first and then to the queue, under the
 * lock of its job, and the reporter's journal tracks both.
 */
export class DorySource extends LeasedSource {
  readonly #parts: DorySourceParts;
  readonly #api: DoryApi;
  readonly #active: ActiveRuns;
  readonly #heartbeat: Heartbeat;
  readonly #discovery: Discovery;
  readonly #coordinator: Coordinator;
  readonly #helper: Helper;
  readonly #reporter: Reporter;
  readonly #startedAt: number;
  /** Settles when runs of an earlier process are recovered and the first heartbeat has succeeded or failed. */
  readonly #started: Promise<unknown>;
  #catchingUp: Promise<void> | undefined;

  constructor(parts: DorySourceParts) {
    super('dory', parts.clock);
    this.#parts = parts;
    const { workerId, access, settings, marks, journal, timing, clock, log } = parts;
    this.#startedAt = clock.wall();
    const api = new DoryApi(access, clock, parts.heartbeatPath);
    const { closing } = this;
    const active = new ActiveRuns(() => this.wake());
    const onRefused = (error: PeerworkError) => {
      this.#heartbeat.refuse();
      parts.warning(error);
    };
    const reporter = new Reporter({ api, journal, log, closing, onRefused });
    const shared = { workerId, api, settings, active, journal, reporter, marks, log, onRefused };
    this.#api = api;
    this.#active = active;
    this.#reporter = reporter;
    const alsoHelps = (runId: string) => active.find('helper', runId) !== undefined;
    this.#coordinator = new Coordinator({
      ...shared,
      closing,
      helpers: new HelperWatch({ workerId, api, marks, timing, clock, log, alsoHelps }),
    });
    this.#helper = new Helper(shared);
    this.#discovery = new Discovery(() => api.distributedRuns(closing));
    this.#heartbeat = new Heartbeat({
      beatMs: timing.beatMs,
      clock,
      beat: () => {
        void marks.signalAlive();
        return api.beat(this.#facts());
      },
      onReply: (reply) => this.#onReply(reply),
      onFault: (error) => parts.warning(error),
      refresh: () => access.refresh(),
    });
    this.#started = Promise.all([reporter.recover(parts.queue), this.#heartbeat.first]);
  }

  protected async take(_capacity: number, signal: AbortSignal): Promise<Lease[]> {
    await orAborted(this.#started, signal);
    if (signal.aborted || !this.#hasRoom) return [];
    const lease = await this.#takeOne(signal);
    return lease === undefined ? [] : [lease];
  }

  /** Without room, polling is pointless: only the end of a run or an accepted key changes that, and both wake the source. */
  protected override idleMs(): number {
    return this.#hasRoom ? 0 : Number.POSITIVE_INFINITY;
  }

  get #hasRoom(): boolean {
    return this.#heartbeat.accepted && this.#active.size < this.#parts.settings.maxConcurrentRuns;
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#active.ended(signal);
  }

  protected async end(): Promise<void> {
    this.#heartbeat.close();
    const { clock, queue, marks, log } = this.#parts;
    const late = new AbortController();
    const timer = clock.after(CLOSE_MS, () => late.abort());
    await this.#active.ended(late.signal);
    await this.#api
      .beat({ ...this.#facts(), status: 'stopping' }, late.signal)
      .catch((error: unknown) => log.debug('no goodbye', { error }));
    timer.cancel();
    await Promise.all([queue.close(), marks.close()]);
  }

  async #takeOne(ended: AbortSignal): Promise<Lease | undefined> {
    const { queue } = this.#parts;
    const waiting = new Deadline({ signals: [ended] });
    const [next, offer] = [queue.next(waiting.signal), this.#discovery.next(waiting.signal)];
    const first = await Promise.race([next.then((job) => ({ job })), offer.then((runs) => ({ runs }))]);
    waiting.abort();
    if ('job' in first) return first.job && this.#coordinator.take(first.job, ended);
    // A job may have arrived at the same moment.
    const late = await next;
    if (late !== undefined) return this.#coordinator.take(late, ended);
    return first.runs && this.#helper.join(first.runs, ended);
  }

  async #onReply(reply: HeartbeatReply): Promise<void> {
    const { settings, log, warning } = this.#parts;
    if (settings.apply(reply)) log.info('the API has other settings now', { version: settings.version, runs: settings.maxConcurrentRuns });
    this.#active.cancel(reply.cancelled);
    this.wake();
    this.#catchingUp ??= this.#reporter.catchUp().finally(() => {
      this.#catchingUp = undefined;
    });
    await this.#discovery.look((runs) => this.#helper.joinable(runs), warning);
  }

  #facts(): object {
    const { workerId, access, queue, settings } = this.#parts;
    return {
      workerId,
      label: access.label ?? workerId,
      hostname: hostname(),
      pid: process.pid,
      version,
      startedAt: new Date(this.#startedAt).toISOString(),
      maxConcurrentRuns: settings.maxConcurrentRuns,
      activeRuns: this.#active.list(),
      // This source is opened only if an engine can run containers.
      dockerOk: true,
      redisOk: queue.up,
      ...(settings.version !== undefined && { configVersion: settings.version }),
    };
  }
}

/** Discovers runs to help with, but queries the API only while a claim is waiting for one. */
class Discovery {
  readonly #list: () => Promise<readonly DistributedRun[]>;
  #waiting: ((runs: readonly DistributedRun[] | undefined) => void) | undefined;

  constructor(list: () => Promise<readonly DistributedRun[]>) {
    this.#list = list;
  }

  /** Resolves with the runs that the next successful query finds; undefined when the signal aborts. */
  next(signal: AbortSignal): Promise<readonly DistributedRun[] | undefined> {
    if (signal.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const taker = (runs: readonly DistributedRun[] | undefined) => {
        signal.removeEventListener('abort', withdraw);
        if (this.#waiting === taker) this.#waiting = undefined;
        resolve(runs);
      };
      const withdraw = () => taker(undefined);
      signal.addEventListener('abort', withdraw);
      this.#waiting = taker;
    });
  }

  /** Never rejects. */
  async look(
    joinable: (runs: readonly DistributedRun[]) => readonly DistributedRun[],
    onFault: (error: PeerworkError) => void,
  ): Promise<void> {
    if (this.#waiting === undefined) return;
    try {
      const runs = joinable(await this.#list());
      if (runs.length > 0) this.#waiting?.(runs);
    } catch (thrown) {
      onFault(asPeerworkError(thrown));
    }
  }
}
