import { type Clock, pause, type Timer } from '../../../clock.js';
import { asPeerworkError, describeError, type PeerworkError } from '../../../errors.js';
import type { Lease } from '../../../job/source.js';
import { orAborted, within } from '../../../kit/deadline.js';
import type { Log } from '../../../log.js';
import { HeldLease } from '../../../sources/held-lease.js';
import type { Outbox } from '../../../sources/outbox.js';
import { OutcomeSender } from '../../../sources/outcome-sender.js';
import type { LocalTask } from '../../../sources/setup.js';
import { CrewError } from '../errors.js';
import { Channels } from './channels.js';
import { type CrewClient, CrewRefusal } from './client.js';
import { idOf, partsOf, Releases } from './releases.js';
import { type CrewTask, jobOf } from './task.js';

/** Concurrent requests per channel. */
const MAX_AT_ONCE = 16;
/** How long a withdrawn claim waits for replies in flight. */
const WITHDRAWN_CLAIM_MS = 1_000;
/** How long `close` waits for requests in flight and the final flush together. */
const FINAL_FLUSH_MS = 2_000;
const MIN_RETRY_MS = 1_000;
const MAX_RETRY_MS = 60_000;

export interface PollerOptions {
  readonly client: CrewClient;
  readonly code: ReadonlyMap<string, LocalTask>;
  readonly workerId: string;
  readonly intervalMs: number;
  /** How often to ask whether a running task is still assigned to this worker. */
  readonly watchMs: number;
  readonly timeoutMs: number;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Log;
  readonly warning: (error: PeerworkError) => void;
  /** Called when there may be something to claim. */
  readonly onNews: () => void;
}

/** Polls a crew server for tasks and reports their outcomes. */
export class Poller {
  readonly #options: PollerOptions;
  readonly #channels: Channels;
  readonly #sender: OutcomeSender;
  readonly #held = new Map<string, HeldLease>();
  #leases = 0;
  /** Channels for which a reply was lost: the server may have assigned us tasks that we do not know about. */
  readonly #uncertain = new Set<string>();
  readonly #requests = new Set<Promise<void>>();
  #watch: Timer | undefined;
  #closed = false;

  constructor(options: PollerOptions) {
    this.#options = options;
    const { client, outbox, clock, log, warning, code, intervalMs } = options;
    this.#channels = new Channels([...code.keys()], intervalMs);
    const releases = new Releases({ client, log });
    this.#sender = new OutcomeSender({
      ...{ outbox, clock, firstMs: MIN_RETRY_MS, capMs: MAX_RETRY_MS },
      send: (settlement) => releases.send(settlement),
      onEnd: ({ outcome }) => {
        if (outcome.state !== 'completed') return;
        for (const { channel } of outcome.children ?? []) this.#channels.expect(channel ?? '', clock.now());
        options.onNews();
      },
      onFault: (_, error) => {
        warning(asPeerworkError(error, CrewError.of('crew-unreachable')));
        return error instanceof CrewRefusal ? error.retryAfterMs : undefined;
      },
    });
  }

  start(): void {
    this.#sender.sendAll();
    this.#scheduleWatch();
  }

  /** Milliseconds until the server may be polled again. */
  waitMs(): number {
    return this.#channels.waitMs(this.#options.clock.now());
  }

  /** Polls the due channels in turn until one returns tasks. */
  async claim(capacity: number, signal: AbortSignal): Promise<Lease[]> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const channel = this.#channels.next(clock.now(), Math.min(capacity, MAX_AT_ONCE));
      if (channel === undefined) break;
      const leases = await this.#request(channel.name, channel.count, signal);
      if (leases.length > 0) return leases;
    }
    return [];
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#sender.flush(signal);
  }

  /** Waits briefly for tasks in flight in order to release them: a real server would keep them assigned to this worker forever. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#watch?.cancel();
    await within({ withinMs: FINAL_FLUSH_MS, keepsAlive: true, clock: this.#options.clock }, async (limit) => {
      await orAborted(Promise.all(this.#requests), limit);
      if (!limit.aborted) await this.#sender.flush(limit);
    });
    await this.#sender.close();
  }

  /**
   * Requests tasks of a channel. A request is never cancelled: the server may have assigned a task already and would give it to nobody
   * else. Tasks that arrive after a withdrawn claim has stopped waiting are released.
   */
  async #request(channel: string, count: number, signal: AbortSignal): Promise<Lease[]> {
    const { client, workerId, clock, warning } = this.#options;
    const leases: Lease[] = [];
    let late = false;
    let failure: unknown;
    const requests = Array.from({ length: count }, async () => {
      try {
        if (this.#uncertain.has(channel)) await this.#releaseUnknown(channel);
        const task = await client.acquire(channel, workerId);
        if (task === undefined) return;
        const lease = this.#open(channel, task);
        if (task.fault !== undefined)
          await lease.settle({
            state: 'failed',
            error: { code: 'job-invalid', message: describeError('job-invalid', task.fault) },
            retry: false,
          });
        else if (late) await lease.settle({ state: 'released', reason: 'the worker has no place for it any more' });
        else leases.push(lease);
      } catch (error) {
        failure = error;
        if (!(error instanceof CrewRefusal)) this.#uncertain.add(channel);
      }
    });
    const all = Promise.all(requests).then(() => {});
    this.#requests.add(all);
    void all.finally(() => this.#requests.delete(all));
    const done = new AbortController();
    void all.then(() => done.abort());
    await orAborted(all, signal);
    if (!done.signal.aborted) await pause(clock, WITHDRAWN_CLAIM_MS, done.signal);
    late = true;
    if (failure === undefined) this.#channels.onReply(channel, count, leases.length, clock.now());
    else {
      this.#channels.onFailure(clock.now(), failure instanceof CrewRefusal ? failure.retryAfterMs : undefined);
      warning(asPeerworkError(failure, CrewError.of('crew-unreachable')));
    }
    return leases;
  }

  /** Releases unknown tasks instead of running them: the worker that acquires them next also receives their parents. */
  async #releaseUnknown(channel: string): Promise<void> {
    const { client, workerId, outbox } = this.#options;
    const tasks = await client.assigned(channel, workerId);
    this.#uncertain.delete(channel);
    const settled = new Set(outbox.pending().map(({ id }) => partsOf(id).task));
    for (const task of tasks.filter(({ id }) => !this.#held.has(id) && !settled.has(id)))
      await this.#open(channel, task).settle({ state: 'released', reason: 'the response was lost' });
  }

  #open(channel: string, task: CrewTask): HeldLease {
    const { code, workerId, clock, log, timeoutMs } = this.#options;
    const local = code.get(channel);
    if (local === undefined) throw new Error(`no code for ${channel}`);
    // Assigned to us again, so it was reset meanwhile; the outcome of the earlier run no longer counts.
    const before = this.#held.get(task.id);
    if (before !== undefined) {
      log.warn('a task was reset while it ran: its run is given up for the new one', {
        task: task.id,
        hint: 'No action needed if it was reset on purpose. Otherwise the crew server gives up on its workers too early: raise its timeout for abandoned tasks.',
      });
      before.lose();
    }
    const run = { job: jobOf(task, channel, timeoutMs), ...local.lease(), startedAt: clock.now() };
    const held = new HeldLease(run, (outcome, settled) => {
      if (this.#held.get(task.id) === settled) this.#held.delete(task.id);
      this.#leases += 1;
      return this.#sender.deliver({
        id: idOf(workerId, task.id, task.failures, task.attemptsLeft),
        lease: this.#leases,
        outcome,
        startedAt: settled.startedAt,
        finishedAt: clock.wall(),
      });
    });
    this.#held.set(task.id, held);
    return held;
  }

  #scheduleWatch(): void {
    const { clock, watchMs } = this.#options;
    this.#watch = clock.after(watchMs, () => void this.#checkAssignments().finally(() => this.#closed || this.#scheduleWatch()), {
      unref: true,
    });
  }

  /** crew has no cancellation, but a task that was deleted, reset or given to another worker need not continue. */
  async #checkAssignments(): Promise<void> {
    const { client, workerId, clock, watchMs, log } = this.#options;
    for (const [id, held] of [...this.#held]) {
      if (clock.now() - held.startedAt < watchMs) continue;
      // An error proves nothing.
      const mine = await client.isMine(id, workerId).catch(() => true);
      if (mine || this.#held.get(id) !== held) continue;
      log.warn('a task was taken away while it ran', {
        task: id,
        hint: 'No action needed if it was deleted or reassigned on purpose. Otherwise raise the crew server’s timeout for abandoned tasks.',
      });
      this.#held.delete(id);
      held.lose();
    }
  }
}
