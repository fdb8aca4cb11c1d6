import type pg from 'pg';
import { type Clock, systemClock, type Timer } from '../clock.js';
import { parseJson } from '../kit/json.js';
import type { CancelledJob, JobChange, LedgerChange } from './ledger-change.js';
import { PostgresConnection } from './postgres-connection.js';

/** The limit of Postgres is just under 8,000 bytes. */
const MAX_PAYLOAD_BYTES = 7_900;
/**
 * Minimum spacing of notifications, in ms. The first change is sent at once, later ones are merged: only one transaction at a time can
 * commit a NOTIFY.
 */
const SPACING_MS = 20;
/** Polling interval behind a pooler, where LISTEN does not work. */
const POLL_MS = 1_000;
/** Jobs kept while merging; more would not fit in a payload anyway. */
const MAX_KEPT = 200;

type ChangeNotice = Omit<LedgerChange, 'own'>;

export interface WakeOptions {
  readonly url: string;
  readonly place: string;
  readonly name: string;
  readonly clock?: Clock;
}

/**
 * Notifies Masters on one ledger of each other's changes. It listens and notifies on a separate connection: a NOTIFY in the changing
 * transaction would serialise all commits of the server (its queue has one lock, held until the commit is on disk). The notification is
 * sent right after the commit without waiting for it. What is lost when a Master dies in between, the others find by polling now and then.
 * Behind a pooler, where LISTEN does not work, polling is all there is.
 */
export class PostgresWake {
  readonly #connection: PostgresConnection;
  readonly #clock: Clock;
  readonly #listeners: ((change: LedgerChange) => void)[] = [];
  #channel = '';
  #wasUp = false;
  #unsent: ChangeNotice | undefined;
  #sending: Promise<void> = Promise.resolve();
  #timer: Timer | undefined;
  #polling: Timer | undefined;
  #closed = false;

  constructor(options: WakeOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#connection = new PostgresConnection({ ...options, onUp: (client, pooled) => (pooled ? this.#poll() : this.#listen(client)) });
  }

  async open(channel: string): Promise<void> {
    this.#channel = channel;
    await this.#connection.ready();
  }

  announce(change: LedgerChange): void {
    this.#unsent = this.#unsent === undefined ? change : merged(this.#unsent, change);
    if (this.#timer === undefined) this.#send();
  }

  onAnnounced(listener: (change: LedgerChange) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#polling?.cancel();
    this.#timer?.cancel();
    this.#send();
    this.#timer?.cancel();
    await this.#sending;
    await this.#connection.close();
  }

  #send(): void {
    this.#timer = undefined;
    const change = this.#unsent;
    if (change === undefined) return;
    this.#unsent = undefined;
    const client = this.#connection.current;
    // Without a connection nothing is sent; the others find the change by polling.
    const named = this.#connection.pooled ? {} : { name: 'notify' };
    if (client !== undefined)
      this.#sending = Promise.all(
        payloads(change).map((payload) => client.query({ ...named, text: 'SELECT pg_notify($1, $2)', values: [this.#channel, payload] })),
      ).then(
        () => {},
        () => {},
      );
    this.#timer = this.#clock.after(SPACING_MS, () => this.#send(), { unref: true });
  }

  async #poll(): Promise<void> {
    this.#polling?.cancel();
    if (this.#closed) return;
    this.#polling = this.#clock.after(
      POLL_MS,
      () => {
        this.#receive('');
        void this.#poll();
      },
      { unref: true },
    );
  }

  async #listen(client: pg.Client): Promise<void> {
    client.on('notification', ({ payload, processId }) => {
      if (processId !== (client as unknown as { readonly processID: number }).processID) this.#receive(payload ?? '');
    });
    this.#polling?.cancel();
    await client.query(`SET synchronous_commit = off; LISTEN ${client.escapeIdentifier(this.#channel)}`);
    if (this.#wasUp) this.#receive('');
    this.#wasUp = true;
  }

  #receive(payload: string): void {
    const change: LedgerChange = { ...readPayload(payload), own: false };
    for (const listener of this.#listeners) listener(change);
  }
}

const anything: ChangeNotice = { jobs: [], cut: true, ready: true, settled: true, cancelled: [], rows: [] };

function merged(one: ChangeNotice, other: ChangeNotice): ChangeNotice {
  const jobs = one.jobs.length > MAX_KEPT ? one.jobs : [...one.jobs, ...other.jobs];
  return {
    jobs,
    cut: one.cut || other.cut || one.jobs.length > MAX_KEPT,
    ready: one.ready || other.ready,
    settled: one.settled || other.settled,
    cancelled: [...one.cancelled, ...other.cancelled],
    rows: [...one.rows, ...other.rows],
    ...earlier(one.dueAt, other.dueAt),
  };
}

function earlier(one: number | undefined, other: number | undefined): Pick<ChangeNotice, 'dueAt'> {
  const dueAt = Math.min(one ?? Number.POSITIVE_INFINITY, other ?? Number.POSITIVE_INFINITY);
  return dueAt === Number.POSITIVE_INFINITY ? {} : { dueAt };
}

/**
 * Returns as many payloads as the cancelled runs need; the other lists are truncated to the remaining room. Jobs are encoded as `[id,
 * channel, state, group]`.
 */
export function payloads(change: ChangeNotice): string[] {
  const texts: string[] = [];
  const running = change.cancelled.filter((job) => job.running !== undefined);
  do {
    const room = { bytes: MAX_PAYLOAD_BYTES - 200 };
    const cancelled = take(running, room);
    running.splice(0, Math.max(1, cancelled.length));
    const first = texts.length === 0;
    const rows = first ? take(change.rows, room) : [];
    const jobs = first
      ? take(
          change.jobs.map(({ id, channel, state, group }) => [id, channel, state, ...(group === undefined ? [] : [group])]),
          room,
        )
      : [];
    const cut = change.cut || (first && (jobs.length < change.jobs.length || rows.length < change.rows.length));
    const { ready, settled, dueAt } = change;
    texts.push(JSON.stringify({ jobs, rows, cancelled, cut, ready, settled, dueAt }));
  } while (running.length > 0);
  return texts;
}

function take<T>(list: readonly T[], room: { bytes: number }): T[] {
  const taken: T[] = [];
  for (const item of list) {
    const bytes = Buffer.byteLength(JSON.stringify(item)) + 1;
    if (bytes > room.bytes) break;
    room.bytes -= bytes;
    taken.push(item);
  }
  return taken;
}

/** Generous: Postgres itself allows 8,000 bytes. */
const PAYLOAD_LIMITS = { maxBytes: 64 * 1024, maxDepth: 8 };

/**
 * Parses a payload. An unreadable one counts as "anything may have changed": another version may have written it, and so can anyone in the
 * database.
 */
export function readPayload(payload: string): ChangeNotice {
  try {
    const sent = parseJson(payload, PAYLOAD_LIMITS) as {
      readonly jobs: readonly (readonly [string, string, JobChange['state'], string?])[];
      readonly rows: ChangeNotice['rows'];
      readonly cancelled: readonly CancelledJob[];
      readonly cut: boolean;
      readonly ready: boolean;
      readonly settled: boolean;
      readonly dueAt?: number;
    };
    const jobs = sent.jobs.map(([id, channel, state, group]): JobChange => ({ id, channel, state, ...(group !== undefined && { group }) }));
    const { cut, ready, settled, dueAt } = sent;
    return { jobs, rows: [...sent.rows], cancelled: [...sent.cancelled], cut, ready, settled, ...(dueAt !== undefined && { dueAt }) };
  } catch {
    return anything;
  }
}
