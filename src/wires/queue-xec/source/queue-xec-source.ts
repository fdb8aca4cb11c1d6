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
import type { Backlog, Entry } from './backlog.js';
import { type ReadJob, readJob } from './read-job.js';
import type { Results } from './results.js';
import type { RoomMaster } from './room-master.js';
import type { Taken, TaskShelf } from './task-shelf.js';

/** The largest batch that a real Master can send without its wire hanging. */
const MAX_BATCH = 8;
/** One of ours sends what it is asked for. */
const OWN_BATCH = 32;
/** How much of jobs such a batch may hold, sealed: what is longer hangs it as well. */
const MAX_BATCH_CHARS = 8 * 1024;
/** After a large result a Master whose wire does not hang has answered a ping within this. */
const PROBE_MS = 3_000;
/** More than was asked for is taken, because the Master has forgotten it; but not without end. */
const MAX_TAKEN = 1_000;
/** An empty Master is asked again after this: it never says by itself that there is work. */
const POLL_MS = 2_000;
const RETRY_MS = 1_000;
/** What a request takes with a real Master, and some time to run what came before. */
const AHEAD_MS = 200;
const MAX_ENDS = 16;
/** A Master that does not hold a request open has answered it within this. */
const ANSWER_MS = 1_000;
/** A Master that owes an answer for this long is pinged … */
const PATIENCE_MS = 10_000;
/** … and one that holds the request open, as ours do, is asked anew after this. */
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
  /** Closes what the source was made of besides. */
  readonly onClose: () => Promise<void>;
}

interface OwnJob {
  readonly payload: Json;
  readonly end: (outcome: Outcome) => void;
}

/**
 * Leases jobs from a queue-xec Master. What the Master hands out it forgets, so a job that has come is kept in the backlog until its
 * outcome is in the outbox: a claim that is withdrawn, a release or a kill loses none.
 */
export class QueueXecSource extends LeasedSource {
  readonly #parts: QueueXecSourceParts;
  /** When the latest jobs ended, oldest first. */
  readonly #ends: number[] = [];
  readonly #settling = new Set<Promise<void>>();
  /** Jobs that no Master gave. */
  readonly #own: OwnJob[] = [];
  #owned = 0;
  #asking = false;
  /** Of the largest job of the latest answer, sealed. At first as much as a single one may be. */
  #jobChars = MAX_BATCH_CHARS;
  #askedAt = 0;
  /** Settles when the jobs of the open request are in the backlog, or it failed. */
  #answer: Promise<unknown> = Promise.resolve();
  #askAt = 0;

  constructor(parts: QueueXecSourceParts) {
    super(parts.name, parts.clock);
    this.#parts = parts;
  }

  protected async take(capacity: number): Promise<Lease[]> {
    const { shelf, backlog } = this.#parts;
    const own = shelf.filled ? this.#own.splice(0, capacity) : [];
    const entries = shelf.filled ? backlog.take(capacity - own.length, this.clock.now()) : [];
    const leases = [...own.map((each) => this.#leaseOwn(each)), ...entries.map((entry) => this.#lease(entry))].flatMap(
      (lease) => lease ?? [],
    );
    if (leases.length === 0 || backlog.size < this.#ahead) this.#askSoon(capacity);
    return leases;
  }

  /** Until the Master may be asked again, or one of the backlog is due; that it has answered or was found is news. */
  protected override idleMs(): number {
    const { master, shelf, backlog } = this.#parts;
    const now = this.clock.now();
    const canAsk = master.address !== undefined && shelf.filled && !this.#asking && this.#askAt > now;
    const dueAt = shelf.filled ? backlog.nextAt : undefined;
    return Math.max(1, Math.min(now + POLL_MS, dueAt ?? now + POLL_MS, canAsk ? this.#askAt : now + POLL_MS) - now);
  }

  /** A request for work is open. */
  get asking(): boolean {
    return this.#asking;
  }

  /** The Master that it works for, and what it knows of it. */
  get link(): Pick<QueueXecSourceParts, 'master' | 'shelf' | 'results' | 'key'> {
    return this.#parts;
  }

  /** Asks the Master for work now rather than when it would by itself. */
  askNow(): void {
    this.#askAt = 0;
    this.wake();
  }

  /** Runs a job of the program around the Worker with the Master's task, once one is there. Its outcome goes to nobody else. */
  runOwn(payload: Json): Promise<Outcome> {
    return new Promise((resolve) => {
      this.#own.push({ payload, end: resolve });
      this.wake();
    });
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#parts.results.flush(signal);
  }

  protected async end(): Promise<void> {
    for (const { end } of this.#own.splice(0)) end({ state: 'released', reason: 'the worker stops' });
    // The jobs in an answer that is on its way would be lost; a Master that holds the request open has not handed out any.
    const leftMs = this.#askedAt + ANSWER_MS - this.#parts.clock.now();
    if (this.#asking && leftMs > 0) await Promise.race([this.#answer, pause(this.#parts.clock, leftMs)]);
    this.#parts.master.close();
    await this.#parts.results.close();
    await this.#parts.room.close();
    await this.#parts.onClose();
    await Promise.all(this.#settling);
  }

  /** How many jobs to have here before they are wanted: as many as are done while one request is on its way. None if they take long. */
  get #ahead(): number {
    const [first = 0] = this.#ends;
    const perMs = this.#ends.length < 2 ? 0 : (this.#ends.length - 1) / Math.max(1, this.#parts.clock.now() - first);
    return Math.min(this.#parts.master.isOurs ? OWN_BATCH : MAX_BATCH, Math.floor(perMs * AHEAD_MS));
  }

  get #maxBatch(): number {
    return this.#parts.master.isOurs ? OWN_BATCH : Math.min(MAX_BATCH, Math.floor(MAX_BATCH_CHARS / this.#jobChars));
  }

  #askSoon(capacity: number): void {
    const { clock, master, shelf } = this.#parts;
    if (this.#asking || this.closing.aborted || this.#parts.results.large) return;
    if (!shelf.filled || master.address === undefined || clock.now() < this.#askAt) return;
    void this.#ask(Math.max(capacity, this.#ahead));
  }

  /** One request is open at a time; it is never withdrawn, because the jobs in its answer would be lost. */
  async #ask(count: number): Promise<void> {
    const { room, master, results, clock, log } = this.#parts;
    this.#asking = true;
    try {
      await master.refresh();
      const { address } = master;
      if (address === undefined) return;
      if (results.takeStrained() && !(await master.answers(PROBE_MS))) {
        // Jobs in an answer would be lost.
        master.hangUp();
        return;
      }
      const batch = Math.max(1, Math.min(this.#maxBatch, count));
      // `concurrent` means nothing to a real Master; to ours, that this Worker asks while it works.
      const args = { getBatch: batch > 1, batchSize: batch, concurrent: true };
      const { answered } = room.call(address, 'requestWork', args, { timeoutMs: 0 });
      // Also when nobody waits for it any more.
      const taken = answered.then((answer) => this.#take(answer));
      this.#askedAt = clock.now();
      this.#answer = taken.catch(() => {});
      this.#askAt = clock.now() + ((await this.#patiently(taken)) > 0 ? 0 : POLL_MS);
    } catch (error) {
      log.debug('a request for work ended', { error });
      this.#askAt = clock.now() + RETRY_MS;
    } finally {
      this.#asking = false;
      // What is large has waited for it.
      results.wake();
      this.wake();
    }
  }

  /** How many jobs came; 0 if the answer is not waited for any longer. */
  async #patiently(taken: Promise<number>): Promise<number> {
    const { clock, master } = this.#parts;
    const over = new AbortController();
    const came = taken.finally(() => over.abort());
    const within = (ms: number) => Promise.race([came, pause(clock, ms, over.signal).then(() => (over.signal.aborted ? came : undefined))]);
    const early = await within(PATIENCE_MS);
    if (early !== undefined) return early;
    if (await master.answers()) return (await within(HOLD_MS)) ?? 0;
    came.catch(() => {});
    master.hangUp();
    return 0;
  }

  async #take(answer: unknown): Promise<number> {
    const { task, batchTasks } = (typeof answer === 'object' && answer !== null ? answer : {}) as { task?: unknown; batchTasks?: unknown };
    const sealed = [task, ...(Array.isArray(batchTasks) ? batchTasks : [])].filter((text) => typeof text === 'string').slice(0, MAX_TAKEN);
    if (sealed.length > 0) this.#jobChars = Math.max(...sealed.map(({ length }) => length));
    for (const text of sealed) await this.#parts.backlog.add(text);
    if (sealed.length > 0) this.wake();
    return sealed.length;
  }

  #lease(entry: Entry): Lease | undefined {
    const { key, channel, timeoutMs, shelf, backlog, clock, onWarning } = this.#parts;
    const text = key.openText(entry.sealed);
    if (text === undefined) {
      onWarning(new QueueXecError('queue-xec-key', 'a job does not open; it is dropped'));
      void backlog.done(entry);
      return undefined;
    }
    const read = readJob(text, entry.serial);
    if ('fault' in read) {
      // Without an id the Master could not tell whose result it is, but it hears of it.
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
      this.#ends.push(clock.now());
      if (this.#ends.length > MAX_ENDS) this.#ends.shift();
      const settling = this.#settle(entry, id, outcome, startedAt).finally(() => this.#settling.delete(settling));
      this.#settling.add(settling);
      await settling;
    });
  }

  #leaseOwn(own: OwnJob): Lease | undefined {
    const { channel, timeoutMs, shelf } = this.#parts;
    const code = shelf.take();
    if (code === undefined) {
      this.#own.unshift(own);
      return undefined;
    }
    this.#owned += 1;
    const { shownId } = readJob(JSON.stringify(own.payload), this.#owned) as ReadJob;
    const job: Job = { id: shownId, channel, data: pushedData(own.payload), attempt: 1, timeoutMs };
    return this.#leaseOf(job, code, async (outcome) => own.end(outcome));
  }

  /** Nobody cancels: the wire has no word for it. */
  #leaseOf(job: Job, code: Taken, end: (outcome: Outcome) => Promise<void>): Lease {
    const { task, runner } = code;
    return new HeldLease({ job, task, runner, startedAt: this.clock.now() }, async (outcome) => {
      code.done();
      await end(outcome);
    });
  }

  async #settle(entry: Entry, id: string, outcome: Outcome, startedAt: number): Promise<void> {
    const { backlog, results, clock, log, onWarning } = this.#parts;
    try {
      if (outcome.state === 'released') {
        backlog.giveBack(entry);
      } else if (outcome.state === 'failed' && outcome.retry && entry.attempt < DEFAULT_ATTEMPTS) {
        await backlog.again(entry, clock.now() + backoffMs(entry.attempt, { firstMs: DEFAULT_BACKOFF_MS, capMs: MAX_BACKOFF_MS }));
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
