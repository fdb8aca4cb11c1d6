import { hostname } from 'node:os';
import type { Clock } from '../../clock.js';
import type { PeerworkError } from '../../errors.js';
import type { Lease, Source } from '../../job/source.js';
import { Deadline, within } from '../../kit/deadline.js';
import { orAborted } from '../../kit/or-aborted.js';
import type { Log } from '../../log.js';
import { version } from '../../version.js';
import { ActiveRuns } from './active-runs.js';
import { DoryApi } from './api.js';
import { Coordinator } from './coordinator.js';
import type { ApiAccess } from './credentials.js';
import { Discovery } from './discovery.js';
import { Heartbeat } from './heartbeat.js';
import { Helper } from './helper.js';
import { HelperWatch } from './helper-watch.js';
import type { Journal } from './journal.js';
import { Reporter } from './reporter.js';
import type { RunQueue } from './run-queue.js';
import type { Settings } from './settings.js';
import type { HeartbeatReply } from './shapes.js';
import type { DoryTiming } from './timing.js';

export interface DorySourceParts {
  readonly workerId: string;
  readonly access: ApiAccess;
  readonly heartbeatPath: string | undefined;
  readonly settings: Settings;
  readonly queue: RunQueue;
  readonly journal: Journal;
  readonly timing: DoryTiming;
  readonly clock: Clock;
  readonly log: Log;
  readonly trouble: (error: PeerworkError) => void;
}

/** How long giving back and saying goodbye may take at the end. */
const CLOSE_MS = 5_000;

/**
 * Takes the runs of a dory-api: from its BullMQ queue as their coordinator, and beside that as a helper of distributed runs that others
 * coordinate. Both count against MAX_CONCURRENT_RUNS, and both only while the Worker has a place free.
 *
 * A claim waits for room, and then for whichever comes first: a job of the queue, or, with a heartbeat, a run to join. What comes second
 * is left where it is.
 */
export class DorySource implements Source {
  readonly name = 'dory';
  readonly #parts: DorySourceParts;
  readonly #api: DoryApi;
  readonly #active: ActiveRuns;
  readonly #heartbeat: Heartbeat;
  readonly #discovery: Discovery;
  readonly #coordinator: Coordinator;
  readonly #helper: Helper;
  readonly #reporter: Reporter;
  readonly #closing = new AbortController();
  readonly #startedAt: number;
  /** Recovered what was left behind, and heard the API's settings, or not. */
  readonly #started: Promise<unknown>;
  #waiting = new Set<() => void>();
  #catchingUp: Promise<void> | undefined;

  constructor(parts: DorySourceParts) {
    this.#parts = parts;
    const { workerId, access, settings, journal, timing, clock, log } = parts;
    this.#startedAt = clock.wall();
    const api = new DoryApi(access, clock, parts.heartbeatPath);
    const closing = this.#closing.signal;
    const active = new ActiveRuns(() => this.#wake());
    const reporter = new Reporter({ api, journal, log, closing });
    const onRefused = (error: PeerworkError) => {
      this.#heartbeat.refuse();
      parts.trouble(error);
    };
    const shared = { workerId, api, settings, active, journal, reporter, log, onRefused };
    this.#api = api;
    this.#active = active;
    this.#reporter = reporter;
    const helpsToo = (runId: string) => active.find('helper', runId) !== undefined;
    this.#coordinator = new Coordinator({ ...shared, closing, helpers: new HelperWatch({ workerId, api, timing, clock, log, helpsToo }) });
    this.#helper = new Helper(shared);
    this.#discovery = new Discovery(() => api.distributedRuns(closing));
    this.#heartbeat = new Heartbeat({
      beatMs: timing.beatMs,
      clock,
      beat: () => api.beat(this.#facts()),
      onAnswer: (reply) => this.#hear(reply),
      onFault: (error) => parts.trouble(error),
      refresh: () => access.refresh(),
    });
    this.#started = Promise.all([reporter.recover(parts.queue), this.#heartbeat.first]);
  }

  claim(_capacity: number, signal: AbortSignal): Promise<Lease[]> {
    return within({ signals: [signal, this.#closing.signal] }, (ended) => this.#claim(ended));
  }

  async #claim(ended: AbortSignal): Promise<Lease[]> {
    await orAborted(this.#started, ended);
    while (!ended.aborted) {
      if (!this.#heartbeat.welcome || this.#active.size >= this.#parts.settings.maxConcurrentRuns) {
        await this.#change(ended);
        continue;
      }
      const lease = await this.#takeOne(ended);
      if (lease !== undefined) return [lease];
    }
    return [];
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#active.ended(signal);
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#wake();
    this.#heartbeat.close();
    const { clock, queue, log } = this.#parts;
    const late = new AbortController();
    const timer = clock.after(CLOSE_MS, () => late.abort());
    await this.#active.ended(late.signal);
    await this.#api
      .beat({ ...this.#facts(), status: 'stopping' }, late.signal)
      .catch((error: unknown) => log.debug('no goodbye', { error }));
    timer.cancel();
    await queue.close();
  }

  async #takeOne(ended: AbortSignal): Promise<Lease | undefined> {
    const { queue } = this.#parts;
    const asking = new Deadline({ signals: [ended] });
    const [next, offer] = [queue.next(asking.signal), this.#discovery.next(asking.signal)];
    const first = await Promise.race([next.then((job) => ({ job })), offer.then((runs) => ({ runs }))]);
    asking.abort();
    if ('job' in first) return first.job && this.#coordinator.take(first.job, ended);
    // A job may have come in the very same moment.
    const late = await next;
    if (late !== undefined) return this.#coordinator.take(late, ended);
    return first.runs && this.#helper.join(first.runs, ended);
  }

  async #hear(reply: HeartbeatReply): Promise<void> {
    const { settings, log, trouble } = this.#parts;
    if (settings.apply(reply)) log.info('the API has other settings now', { version: settings.version, runs: settings.maxConcurrentRuns });
    this.#active.cancel(reply.cancelled);
    this.#wake();
    this.#catchingUp ??= this.#reporter.catchUp().finally(() => {
      this.#catchingUp = undefined;
    });
    await this.#discovery.look((runs) => this.#helper.joinable(runs), trouble);
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
      // Without an engine that can run containers this source is not opened.
      dockerOk: true,
      redisOk: queue.up,
      ...(settings.version !== undefined && { configVersion: settings.version }),
    };
  }

  /** Resolves when there may be room now, or the signal aborts. */
  async #change(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake);
    });
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
