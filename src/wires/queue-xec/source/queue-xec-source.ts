import { type Clock, pause } from '../../../clock.js';
import { asPeerworkError, describeError, type PeerworkError } from '../../../errors.js';
import type { Job, Json, Outcome } from '../../../job/job.js';
import { DEFAULT_ATTEMPTS, DEFAULT_BACKOFF_MS, MAX_BACKOFF_MS } from '../../../job/limits.js';
import { pushedData } from '../../../job/pushed.js';
import type { Lease } from '../../../job/source.js';
import { backoffMs } from '../../../kit/backoff.js';
import type { Log } from '../../../log.js';
import { HeldLease } from '../../../sources/held-lease.js';
import { LeasedSource } from '../../../sources/leased-source.js';
import { QueueXecError } from '../errors.js';
import type { Room } from '../protocol/room.js';
import type { TransferKey } from '../protocol/transfer.js';
import type { Backlog, BacklogEntry } from './backlog.js';
import { type ReadJob, readJob } from './read-job.js';
import type { Results } from './results.js';
import type { RoomMaster } from './room-master.js';
import type { ShelfCode, TaskShelf } from './task-shelf.js';

/** Largest batch that a real Master can send without its connection hanging. */
const MAX_BATCH = 8;
/** Batch size for a Master of ours, which has no such limit. */
const OWN_BATCH = 32;
/** Limit for the sealed jobs of such a batch, in characters: longer batches hang the connection too. */
const MAX_BATCH_CHARS = 8 * 1024;
/** After a large result, a Master whose connection is not hung replies to a ping within this time. */
const PROBE_MS = 3_000;
/** Limit for jobs in one reply. More jobs than requested are accepted, because the Master has forgotten them, but not without limit. */
const MAX_RECEIVED = 1_000;
/** Polling interval of an empty Master, which never announces work. */
const POLL_MS = 2_000;
const RETRY_MS = 1_000;
/** Duration of a request to a real Master, plus some time to finish the jobs before it. */
const PREFETCH_MS = 200;
const MAX_ENDED = 16;
/** A Master that does not hold a request open replies within this time. */
const REPLY_MS = 1_000;
/** A Master that has not replied to a request for this long is pinged. */
const PING_AFTER_MS = 10_000;
/** A request that a responsive Master holds open, as ours do, is repeated after this long. */
const HOLD_MS = 60_000;

export interface QueueXecSourceParts {
  readonly name: string;
  readonly channel: string;
  readonly timeoutMs: number;
  readonly room: Room;
  readonly master: RoomMaster;
  readonly shelf: TaskShelf;
  readonly backlog: Backlog;
  readonly results: Results;
  readonly key: TransferKey;
  readonly clock: Clock;
  readonly log: Log;
  readonly onWarning: (error: PeerworkError) => void;
  /** Closes the remaining parts of the source. */
  readonly onClose: () => Promise<void>;
}

interface SubmittedJob {
  readonly payload: Json;
  readonly end: (outcome: Outcome) => void;
}

/**
 * Leases jobs from a queue-xec Master. The Master forgets what it hands out, so each job is kept in the backlog until its outcome is in the
 * outbox: a withdrawn claim, a release or a kill loses none.
 */
export class QueueXecSource extends LeasedSource {
  readonly #parts: QueueXecSourceParts;
  /** When the most recent jobs ended, oldest first. */
  readonly #endedAt: number[] = [];
  readonly #settling = new Set<Promise<void>>();
  /** Jobs that were submitted by the embedding program instead of a Master. */
  readonly #submitted: SubmittedJob[] = [];
  #submittedCount = 0;
  #isRequesting = false;
  /** Sealed size of the largest job in the latest reply, in characters. Initially the limit for a single job. */
  #jobChars = MAX_BATCH_CHARS;
  #requestedAt = 0;
  /** Settles when the jobs of the request in flight are in the backlog, or the request failed. */
  #reply: Promise<unknown> = Promise.resolve();
  #pollAt = 0;

  constructor(parts: QueueXecSourceParts) {
    super(parts.name, parts.clock);
    this.#parts = parts;
  }

  protected async take(capacity: number): Promise<Lease[]> {
    const { shelf, backlog } = this.#parts;
    const own = shelf.filled ? this.#submitted.splice(0, capacity) : [];
    const entries = shelf.filled ? backlog.take(capacity - own.length, this.clock.now()) : [];
    const leases = [...own.map((each) => this.#leaseSubmitted(each)), ...entries.map((entry) => this.#lease(entry))].flatMap(
      (lease) => lease ?? [],
    );
    if (leases.length === 0 || backlog.size < this.#prefetch) this.#requestIfDue(capacity);
    return leases;
  }

  /** Time until the Master may be polled again or a job of the backlog is due; replies and newly found Masters wake the source. */
  protected override idleMs(): number {
    const { master, shelf, backlog } = this.#parts;
    const now = this.clock.now();
    const canPoll = master.address !== undefined && shelf.filled && !this.#isRequesting && this.#pollAt > now;
    const dueAt = shelf.filled ? backlog.nextAt : undefined;
    return Math.max(1, Math.min(now + POLL_MS, dueAt ?? now + POLL_MS, canPoll ? this.#pollAt : now + POLL_MS) - now);
  }

  /** Whether a request for work is in flight. */
  get isRequesting(): boolean {
    return this.#isRequesting;
  }

  /** The Master that this source works for, and the state shared with it. */
  get link(): Pick<QueueXecSourceParts, 'master' | 'shelf' | 'results' | 'key'> {
    return this.#parts;
  }

  /** Requests work from the Master now instead of at the next poll. */
  askNow(): void {
    this.#pollAt = 0;
    this.wake();
  }

  /** Runs a job of the embedding program with the Master's task, once there is one. The outcome is returned to the caller only. */
  runOwn(payload: Json): Promise<Outcome> {
    return new Promise((resolve) => {
      this.#submitted.push({ payload, end: resolve });
      this.wake();
    });
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#parts.results.flush(signal);
  }

  protected async end(): Promise<void> {
    for (const { end } of this.#submitted.splice(0)) end({ state: 'released', reason: 'the worker stops' });
    // Jobs in a reply in flight would be lost; a Master that holds the request open has not handed out any.
    const leftMs = this.#requestedAt + REPLY_MS - this.#parts.clock.now();
    if (this.#isRequesting && leftMs > 0) await Promise.race([this.#reply, pause(this.#parts.clock, leftMs)]);
    this.#parts.master.close();
    await this.#parts.results.close();
    await this.#parts.room.close();
    await this.#parts.onClose();
    await Promise.all(this.#settling);
  }

  /** How many jobs to prefetch: as many as finish while one request is in flight; none if jobs take long. */
  get #prefetch(): number {
    const [first = 0] = this.#endedAt;
    const perMs = this.#endedAt.length < 2 ? 0 : (this.#endedAt.length - 1) / Math.max(1, this.#parts.clock.now() - first);
    return Math.min(this.#parts.master.isOurs ? OWN_BATCH : MAX_BATCH, Math.floor(perMs * PREFETCH_MS));
  }

  get #maxBatch(): number {
    return this.#parts.master.isOurs ? OWN_BATCH : Math.min(MAX_BATCH, Math.floor(MAX_BATCH_CHARS / this.#jobChars));
  }

  #requestIfDue(capacity: number): void {
    const { clock, master, shelf } = this.#parts;
    if (this.#isRequesting || this.closing.aborted || this.#parts.results.large) return;
    if (!shelf.filled || master.address === undefined || clock.now() < this.#pollAt) return;
    void this.#request(Math.max(capacity, this.#prefetch));
  }

  /** Sends one request at a time. A request is never cancelled, because the jobs in its reply would be lost. */
  async #request(count: number): Promise<void> {
    const { room, master, results, clock, log } = this.#parts;
    this.#isRequesting = true;
    try {
      await master.refresh();
      const { address } = master;
      if (address === undefined) return;
      if (results.takeStrained() && !(await master.isResponsive(PROBE_MS))) {
        // Jobs in a reply would be lost.
        master.hangUp();
        return;
      }
      const batch = Math.max(1, Math.min(this.#maxBatch, count));
      // `concurrent` is ignored by a real Master; it tells one of ours that this Worker requests while it works.
      const args = { getBatch: batch > 1, batchSize: batch, concurrent: true };
      const { answered } = room.call(address, 'requestWork', args, { timeoutMs: 0 });
      // Store the jobs even if nobody waits for the reply any more.
      const taken = answered.then((reply) => this.#store(reply));
      this.#requestedAt = clock.now();
      this.#reply = taken.catch(() => {});
      this.#pollAt = clock.now() + ((await this.#awaitReply(taken)) > 0 ? 0 : POLL_MS);
    } catch (error) {
      log.debug('a request for work ended', { error });
      this.#pollAt = clock.now() + RETRY_MS;
    } finally {
      this.#isRequesting = false;
      // Large results have waited for the request to end.
      results.wake();
      this.wake();
    }
  }

  /** Resolves with the number of jobs received; 0 if the reply is not awaited any longer. */
  async #awaitReply(taken: Promise<number>): Promise<number> {
    const { clock, master } = this.#parts;
    const over = new AbortController();
    const received = taken.finally(() => over.abort());
    const within = (ms: number) =>
      Promise.race([received, pause(clock, ms, over.signal).then(() => (over.signal.aborted ? received : undefined))]);
    const early = await within(PING_AFTER_MS);
    if (early !== undefined) return early;
    if (await master.isResponsive()) return (await within(HOLD_MS)) ?? 0;
    received.catch(() => {});
    master.hangUp();
    return 0;
  }

  async #store(reply: unknown): Promise<number> {
    const { task, batchTasks } = (typeof reply === 'object' && reply !== null ? reply : {}) as { task?: unknown; batchTasks?: unknown };
    const sealed = [task, ...(Array.isArray(batchTasks) ? batchTasks : [])]
      .filter((text) => typeof text === 'string')
      .slice(0, MAX_RECEIVED);
    if (sealed.length > 0) this.#jobChars = Math.max(...sealed.map(({ length }) => length));
    for (const text of sealed) await this.#parts.backlog.add(text);
    if (sealed.length > 0) this.wake();
    return sealed.length;
  }

  #lease(entry: BacklogEntry): Lease | undefined {
    const { key, channel, timeoutMs, shelf, backlog, clock, onWarning } = this.#parts;
    const text = key.openText(entry.sealed);
    if (text === undefined) {
      onWarning(new QueueXecError('queue-xec-key', 'a job does not open; it is dropped'));
      void backlog.done(entry);
      return undefined;
    }
    const read = readJob(text, entry.serial);
    if ('fault' in read) {
      // Without an id the Master cannot match the result to a job, but it is still notified.
      const error = { code: 'job-invalid', message: describeError('job-invalid', read.fault) };
      void this.#settle(entry, read.id ?? '', { state: 'failed', error, retry: false }, clock.now());
      return undefined;
    }
    const code = shelf.take();
    if (code === undefined) {
      backlog.giveBack(entry);
      return undefined;
    }
    const { id, shownId, payload } = read;
    const job: Job = { id: shownId, channel, data: pushedData(payload), attempt: entry.attempt, timeoutMs };
    const startedAt = clock.now();
    return this.#leaseOf(job, code, async (outcome) => {
      this.#endedAt.push(clock.now());
      if (this.#endedAt.length > MAX_ENDED) this.#endedAt.shift();
      const settling = this.#settle(entry, id, outcome, startedAt).finally(() => this.#settling.delete(settling));
      this.#settling.add(settling);
      await settling;
    });
  }

  #leaseSubmitted(own: SubmittedJob): Lease | undefined {
    const { channel, timeoutMs, shelf } = this.#parts;
    const code = shelf.take();
    if (code === undefined) {
      this.#submitted.unshift(own);
      return undefined;
    }
    this.#submittedCount += 1;
    const { shownId } = readJob(JSON.stringify(own.payload), this.#submittedCount) as ReadJob;
    const job: Job = { id: shownId, channel, data: pushedData(own.payload), attempt: 1, timeoutMs };
    return this.#leaseOf(job, code, async (outcome) => own.end(outcome));
  }

  /** queue-xec has no cancellation, so leases are never lost. */
  #leaseOf(job: Job, code: ShelfCode, end: (outcome: Outcome) => Promise<void>): Lease {
    const { task, runner } = code;
    return new HeldLease({ job, task, runner, startedAt: this.clock.now() }, async (outcome) => {
      code.done();
      await end(outcome);
    });
  }

  async #settle(entry: BacklogEntry, id: string, outcome: Outcome, startedAt: number): Promise<void> {
    const { backlog, results, clock, log, onWarning } = this.#parts;
    try {
      if (outcome.state === 'released') {
        backlog.giveBack(entry);
      } else if (outcome.state === 'failed' && outcome.retry && entry.attempt < DEFAULT_ATTEMPTS) {
        await backlog.retry(entry, clock.now() + backoffMs(entry.attempt, { firstMs: DEFAULT_BACKOFF_MS, capMs: MAX_BACKOFF_MS }));
      } else {
        if (outcome.state === 'completed' && outcome.children !== undefined)
          log.warn('a queue-xec Master takes no children; they are dropped', {
            job: id,
            hint: 'Return no children from this task, or give it to a peerwork Master.',
          });
        await results.deliver({ id, lease: entry.serial, outcome, startedAt, finishedAt: clock.now() });
        await backlog.done(entry);
        return;
      }
      this.wake();
    } catch (error) {
      onWarning(asPeerworkError(error));
    }
  }
}
