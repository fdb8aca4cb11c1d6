import type pg from 'pg';
import { type Clock, systemClock, type Timer } from '../clock.js';
import type { CancelledJob, LedgerChange } from './ledger.js';
import { PostgresConnection } from './postgres-connection.js';

/** Postgres takes fewer than 8,000 bytes. */
const MAX_PAYLOAD_BYTES = 7_900;
/** The first change is told at once, those that follow together: Postgres lets only one transaction at a time commit a NOTIFY. */
const SPACING_MS = 20;

export interface WakeOptions {
  readonly url: string;
  readonly place: string;
  readonly name: string;
  readonly clock?: Clock;
}

/**
 * Masters on one ledger telling each other what they changed. A connection of its own listens and tells: a NOTIFY in the transaction that made
 * the change would make all commits of the server wait for each other (its queue has one lock, held until the commit is on disk). It is told
 * right after the commit, and not waited for. What is lost when a Master dies in between, the others find by looking now and then.
 */
export class PostgresWake {
  readonly #connection: PostgresConnection;
  readonly #clock: Clock;
  readonly #listeners: ((change: LedgerChange) => void)[] = [];
  #channel = '';
  #wasUp = false;
  #waiting: LedgerChange | undefined;
  #telling: Promise<void> = Promise.resolve();
  #timer: Timer | undefined;

  constructor(options: WakeOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#connection = new PostgresConnection({ ...options, onUp: (client) => this.#listen(client) });
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
    if (client !== undefined)
      this.#telling = Promise.all(
        payloads(change).map((payload) =>
          client.query({ name: 'tell', text: 'SELECT pg_notify($1, $2)', values: [this.#channel, payload] }),
        ),
      ).then(
        () => {},
        () => {},
      );
    this.#timer = this.#clock.after(SPACING_MS, () => this.#tell(), { unref: true });
  }

  async #listen(client: pg.Client): Promise<void> {
    client.on('notification', ({ payload, processId }) => {
      if (processId !== (client as unknown as { readonly processID: number }).processID) this.#hear(payload ?? '');
    });
    await client.query(`SET synchronous_commit = off; LISTEN ${client.escapeIdentifier(this.#channel)}`);
    if (this.#wasUp) this.#hear('');
    this.#wasUp = true;
  }

  #hear(payload: string): void {
    const change = readPayload(payload);
    for (const listener of this.#listeners) listener(change);
  }
}

const unknown: LedgerChange = { ready: true, settled: true, cancelled: [] };

function merged(one: LedgerChange, other: LedgerChange): LedgerChange {
  return {
    ready: one.ready || other.ready,
    settled: one.settled || other.settled,
    cancelled: [...one.cancelled, ...other.cancelled],
  };
}

/** As many as the runs that are to be stopped need. */
export function payloads(change: LedgerChange): string[] {
  const texts: string[] = [];
  const cancelled = [...change.cancelled];
  do {
    let bytes = MAX_PAYLOAD_BYTES - 200;
    const count = cancelled.findIndex((job) => {
      bytes -= Buffer.byteLength(JSON.stringify(job)) + 1;
      return bytes < 0;
    });
    texts.push(JSON.stringify({ ...change, cancelled: cancelled.splice(0, count === -1 ? cancelled.length : Math.max(1, count)) }));
  } while (cancelled.length > 0);
  return texts;
}

/** What cannot be read stands for anything: another version may write it, and anyone in the database can. */
export function readPayload(payload: string): LedgerChange {
  try {
    const told = JSON.parse(payload) as { readonly ready: boolean; readonly settled: boolean; readonly cancelled: readonly CancelledJob[] };
    return { ready: told.ready, settled: told.settled, cancelled: [...told.cancelled] };
  } catch {
    return unknown;
  }
}
