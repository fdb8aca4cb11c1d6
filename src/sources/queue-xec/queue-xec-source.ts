import { type Clock, pause } from '../../clock.js';
import { asPeerworkError, describeError, PeerworkError } from '../../errors.js';
import type { Job, Json, Outcome } from '../../job/job.js';
import { DEFAULT_ATTEMPTS, DEFAULT_BACKOFF_MS, GIVEN_MESSAGE, MAX_JOB_ID_CHARS, MAX_MESSAGE_BYTES } from '../../job/limits.js';
import type { Lease, Source } from '../../job/source.js';
import { type JsonRefused, parseJson } from '../../kit/json.js';
import { outlineOf } from '../../kit/json-outline.js';
import type { Log } from '../../log.js';
import type { Room } from '../../wires/queue-xec/room.js';
import type { TransferKey } from '../../wires/queue-xec/transfer.js';
import type { Backlog, Entry } from './backlog.js';
import type { Results } from './results.js';
import type { RoomMaster } from './room-master.js';
import type { TaskShelf } from './task-shelf.js';

/** The largest batch that a real Master can send without its wire hanging. */
const MAX_BATCH = 8;
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
  readonly onTrouble: (error: PeerworkError) => void;
  /** Closes what the source was made of besides. */
  readonly onClose: () => Promise<void>;
}

/**
 * Leases jobs from a queue-xec Master. What the Master hands out it forgets, so a job that has come is kept in the backlog until its
 * outcome is in the outbox: a claim that is withdrawn, a release or a kill loses none.
 */
export class QueueXecSource implements Source {
  readonly name: string;
  readonly #parts: QueueXecSourceParts;
  /** When the latest jobs ended, oldest first. */
  readonly #ends: number[] = [];
  readonly #settling = new Set<Promise<void>>();
  #asking = false;
  #askedAt = 0;
  /** Settles when the jobs of the open request are in the backlog, or it failed. */
  #answer: Promise<unknown> = Promise.resolve();
  #askAt = 0;
  #closed = false;
  #wake: () => void = () => {};

  constructor(parts: QueueXecSourceParts) {
    this.#parts = parts;
    this.name = parts.name;
  }

  /** Something has changed that a claim may wait for. */
  wake(): void {
    this.#wake();
  }

  async claim(capacity: number, signal: AbortSignal): Promise<Lease[]> {
    const { clock, shelf, backlog } = this.#parts;
    while (!signal.aborted && !this.#closed) {
      const entries = shelf.filled ? backlog.take(capacity, clock.now()) : [];
      const leases = entries.flatMap((entry) => this.#lease(entry) ?? []);
      if (backlog.size < this.#ahead) this.#askSoon(capacity);
      if (leases.length > 0) return leases;
      await this.#wait(capacity, signal);
    }
    return [];
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#parts.results.flush(signal);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
    // The jobs in an answer that is on its way would be lost; a Master that holds the request open has not handed out any.
    const leftMs = this.#askedAt + ANSWER_MS - this.#parts.clock.now();
    if (this.#asking && leftMs > 0) await Promise.race([this.#answer, pause(this.#parts.clock, leftMs)]);
    this.#parts.master.close();
    this.#parts.results.close();
    await this.#parts.room.close();
    await this.#parts.onClose();
    await Promise.all(this.#settling);
  }

  /** Until jobs may be there: the Master was asked and answered, one of the backlog is due, a Master was found. */
  async #wait(capacity: number, signal: AbortSignal): Promise<void> {
    const { clock, master, shelf, backlog } = this.#parts;
    const over = new AbortController();
    this.#wake = () => over.abort();
    const end = () => over.abort();
    signal.addEventListener('abort', end, { once: true });
    const now = clock.now();
    this.#askSoon(capacity);
    const canAsk = master.address !== undefined && shelf.filled && !this.#asking;
    const dueAt = shelf.filled ? backlog.nextAt : undefined;
    const wakeAt = Math.min(
      now + POLL_MS,
      dueAt ?? Number.POSITIVE_INFINITY,
      canAsk && this.#askAt > now ? this.#askAt : Number.POSITIVE_INFINITY,
    );
    await pause(clock, Math.max(1, wakeAt - now), over.signal);
    signal.removeEventListener('abort', end);
  }

  /** How many jobs to have here before they are wanted: as many as are done while one request is on its way. None if they take long. */
  get #ahead(): number {
    const [first = 0] = this.#ends;
    const perMs = this.#ends.length < 2 ? 0 : (this.#ends.length - 1) / Math.max(1, this.#parts.clock.now() - first);
    return Math.min(MAX_BATCH, Math.floor(perMs * AHEAD_MS));
  }

  #askSoon(capacity: number): void {
    const { clock, master, shelf } = this.#parts;
    if (this.#asking || this.#closed || !shelf.filled || master.address === undefined || clock.now() < this.#askAt) return;
    void this.#ask(Math.max(capacity, this.#ahead));
  }

  /** One request is open at a time; it is never withdrawn, because the jobs in its answer would be lost. */
  async #ask(count: number): Promise<void> {
    const { room, master, clock, log } = this.#parts;
    this.#asking = true;
    try {
      await master.refresh();
      const { address } = master;
      if (address === undefined) return;
      const batch = Math.min(MAX_BATCH, count);
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
      this.#wake();
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
    for (const text of sealed) await this.#parts.backlog.add(text);
    if (sealed.length > 0) this.#wake();
    return sealed.length;
  }

  #lease(entry: Entry): Lease | undefined {
    const { key, channel, timeoutMs, shelf, backlog, clock, log, onTrouble } = this.#parts;
    const text = key.openText(entry.sealed) ?? '';
    const { payload, fault } = read(text);
    if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) {
      const outline = outlineOf(text, { maxBytes: MAX_MESSAGE_BYTES, maxDepth: 1 });
      if (typeof outline === 'object' && outline !== null && 'id' in outline) {
        const error = { code: 'job-invalid', message: describeError('job-invalid', fault) };
        void this.#settle(entry, JSON.stringify(outline.id), { state: 'failed', error, retry: false }, clock.now());
        return undefined;
      }
      onTrouble(new PeerworkError('queue-xec-key', 'a job does not open; it is dropped'));
      void backlog.done(entry);
      return undefined;
    }
    const code = shelf.take();
    if (code === undefined) {
      backlog.giveBack(entry);
      return undefined;
    }
    const { id = null, data, ...rest } = payload as { readonly [key: string]: Json };
    const job: Job = { id: shownId(id), channel, data: data === undefined ? rest : data, attempt: entry.attempt, timeoutMs };
    const startedAt = clock.now();
    let settled = false;
    return {
      job,
      task: code.task,
      runner: code.runner,
      // Nobody cancels: the wire has no word for it.
      signal: new AbortController().signal,
      report: (progress) => log.debug('progress of a job', { job: job.id, progress: progress.kind }),
      settle: async (outcome) => {
        if (settled) return;
        settled = true;
        code.done();
        this.#ends.push(clock.now());
        if (this.#ends.length > MAX_ENDS) this.#ends.shift();
        const settling = this.#settle(entry, JSON.stringify(id), outcome, startedAt).finally(() => this.#settling.delete(settling));
        this.#settling.add(settling);
        await settling;
      },
    };
  }

  async #settle(entry: Entry, id: string, outcome: Outcome, startedAt: number): Promise<void> {
    const { backlog, results, clock, log, onTrouble } = this.#parts;
    try {
      if (outcome.state === 'released') {
        backlog.giveBack(entry);
      } else if (outcome.state === 'failed' && outcome.retry && entry.attempt < DEFAULT_ATTEMPTS) {
        await backlog.again(entry, clock.now() + DEFAULT_BACKOFF_MS * 2 ** (entry.attempt - 1));
      } else {
        if (outcome.state === 'completed' && outcome.children !== undefined)
          log.warn('a queue-xec Master takes no children; they are dropped', { job: id });
        await results.deliver({ id, lease: entry.serial, outcome, startedAt, finishedAt: clock.now() });
        await backlog.done(entry);
        return;
      }
      this.#wake();
    } catch (error) {
      onTrouble(asPeerworkError(error));
    }
  }
}

function read(text: string): { readonly payload?: unknown; readonly fault: string } {
  try {
    return { payload: parseJson(text, GIVEN_MESSAGE), fault: '' };
  } catch (thrown) {
    return { fault: (thrown as JsonRefused).message };
  }
}

/** An id may be any JSON; the Master gets it back as it was. */
function shownId(id: Json): string {
  const text = typeof id === 'string' && id !== '' ? id : JSON.stringify(id);
  return text.replace(/[\p{Cc}\p{Cs}]/gu, '?').slice(0, MAX_JOB_ID_CHARS);
}
