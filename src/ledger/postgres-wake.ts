import type pg from 'pg';
import { type Clock, systemClock, type Timer } from '../clock.js';
import { parseJson } from '../kit/json.js';
import type { CancelledJob, JobChange, LedgerChange } from './ledger-change.js';
import { PostgresConnection } from './postgres-connection.js';

/** Postgres takes fewer than 8,000 bytes. */
const MAX_PAYLOAD_BYTES = 7_900;
/** The first change is sent at once, those that follow together: Postgres lets only one transaction at a time commit a NOTIFY. */
const SPACING_MS = 20;
/** Behind a pooler nobody can listen: whether there is something new is looked for as often. */
const POLL_MS = 1_000;
/** More changes than this need no list: they do not fit. */
const MAX_KEPT = 200;

type Told = Omit<LedgerChange, 'own'>;

export interface WakeOptions {
  readonly url: string;
  readonly place: string;
  readonly name: string;
  readonly clock?: Clock;
}

/**
 * Notifications between Masters on one ledger of what they changed. A separate connection listens and notifies: a NOTIFY in the transaction that made
 * the change would make all commits of the server wait for each other (its queue has one lock, held until the commit is on disk). It is sent
 * right after the commit, and not waited for. What is lost when a Master dies in between, the others find by looking now and then. Behind a pooler, where
 * none can listen, looking is all there is.
 */
export class PostgresWake {
  readonly #connection: PostgresConnection;
  readonly #clock: Clock;
  readonly #listeners: ((change: LedgerChange) => void)[] = [];
  #channel = '';
  #wasUp = false;
  #waiting: Told | undefined;
  #telling: Promise<void> = Promise.resolve();
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
    this.#waiting = this.#waiting === undefined ? change : merged(this.#waiting, change);
    if (this.#timer === undefined) this.#tell();
  }

  onAnnounced(listener: (change: LedgerChange) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#polling?.cancel();
    this.#timer?.cancel();
    this.#tell();
    this.#timer?.cancel();
    await this.#telling;
    await this.#connection.close();
  }

  #tell(): void {
    this.#timer = undefined;
    const change = this.#waiting;
    if (change === undefined) return;
    this.#waiting = undefined;
    const client = this.#connection.current;
    // Without a connection the others hear nothing, and will look for themselves.
    const named = this.#connection.pooled ? {} : { name: 'tell' };
    if (client !== undefined)
      this.#telling = Promise.all(
        payloads(change).map((payload) => client.query({ ...named, text: 'SELECT pg_notify($1, $2)', values: [this.#channel, payload] })),
      ).then(
        () => {},
        () => {},
      );
    this.#timer = this.#clock.after(SPACING_MS, () => this.#tell(), { unref: true });
  }

  async #poll(): Promise<void> {
    this.#polling?.cancel();
    if (this.#closed) return;
    this.#polling = this.#clock.after(
      POLL_MS,
      () => {
        this.#hear('');
        void this.#poll();
      },
      { unref: true },
    );
  }

  async #listen(client: pg.Client): Promise<void> {
    client.on('notification', ({ payload, processId }) => {
      if (processId !== (client as unknown as { readonly processID: number }).processID) this.#hear(payload ?? '');
    });
    this.#polling?.cancel();
    await client.query(`SET synchronous_commit = off; LISTEN ${client.escapeIdentifier(this.#channel)}`);
    if (this.#wasUp) this.#hear('');
    this.#wasUp = true;
  }

  #hear(payload: string): void {
    const change: LedgerChange = { ...readPayload(payload), own: false };
    for (const listener of this.#listeners) listener(change);
  }
}

const unknown: Told = { jobs: [], cut: true, ready: true, settled: true, cancelled: [], rows: [] };

function merged(one: Told, other: Told): Told {
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

function earlier(one: number | undefined, other: number | undefined): Pick<Told, 'dueAt'> {
  const dueAt = Math.min(one ?? Number.POSITIVE_INFINITY, other ?? Number.POSITIVE_INFINITY);
  return dueAt === Number.POSITIVE_INFINITY ? {} : { dueAt };
}

/**
 * As many as the runs that are to be stopped need; the other lists are cut short to what is left. Jobs are sent as `[id, channel, state, group]`.
 */
export function payloads(change: Told): string[] {
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

/** Postgres itself allows 8,000 bytes. */
const PAYLOAD_LIMITS = { maxBytes: 64 * 1024, maxDepth: 8 };

/** What cannot be read may mean anything: another version may write it, and anyone in the database can. */
export function readPayload(payload: string): Told {
  try {
    const sent = parseJson(payload, PAYLOAD_LIMITS) as {
      readonly jobs: readonly (readonly [string, string, JobChange['state'], string?])[];
      readonly rows: Told['rows'];
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
    return unknown;
  }
}
