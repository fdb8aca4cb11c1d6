import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { Clock, Timer } from '../../clock.js';
import { sizeOfProgress } from '../../job/bounded-progress.js';
import type { JobService, JobServiceEvent } from '../job-service.js';

const RING = 10_000;
/** A progress value may take 64 KiB. */
const RING_CHARS = 8 * 1024 * 1024;
/** Size of an event without a value of its own, including ids. */
const EVENT_CHARS = 256;
const WRITE_CHARS = 64 * 1024;

interface FeedEvent {
  readonly n: number;
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** Approximate length of its text. */
  readonly chars: number;
  /** The serialised event, created when the first reader needs it. */
  text?: string;
}

/** Restricts a reader to the events of one group or job. */
export interface FeedFilter {
  readonly group?: string;
  readonly job?: string;
}

interface Reader {
  readonly raw: ServerResponse;
  readonly filter: FeedFilter;
  next: number;
  blocked: boolean;
  /** Was already blocked at the previous heartbeat. */
  late: boolean;
}

/**
 * Distributes events as server-sent events. The last 10,000 are kept in a ring, fewer if they are large, and a reader is only a
 * position in it: a slow reader costs nothing. A reader that falls behind the ring, or takes nothing between two heartbeats, is
 * disconnected; it may reconnect and is notified of the gap. Event ids are `<epoch>-<n>`: another epoch belongs to another run of
 * the Master, whose events are gone.
 */
export class EventFeed {
  readonly #clock: Clock;
  readonly #epoch = randomBytes(6).toString('hex');
  readonly #heartbeatMs: number;
  readonly #ring: FeedEvent[] = [];
  readonly #readers = new Set<Reader>();
  readonly #unwatch: () => void;
  #first = 1;
  #chars = 0;
  #waking = false;
  #timer: Timer | undefined;
  #closed = false;

  constructor(service: JobService, heartbeatMs: number) {
    this.#clock = service.clock;
    this.#heartbeatMs = heartbeatMs;
    this.#unwatch = service.watch((event) => this.#record(event));
    this.#beat();
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** Writes events to an open stream, from now on or after `lastEventId`, until it ends. */
  attach(raw: ServerResponse, filter: FeedFilter, lastEventId?: string): void {
    if (this.#closed) return void raw.end();
    const last = this.#first + this.#ring.length - 1;
    const [epoch, n] = lastEventId?.split('-') ?? [this.#epoch, String(last)];
    const after = Number(n);
    const isGap = epoch !== this.#epoch || !Number.isSafeInteger(after) || after > last || after < this.#first - 1;
    const reader: Reader = { raw, filter, next: (isGap ? last : after) + 1, blocked: false, late: false };
    this.#readers.add(reader);
    raw.on('close', () => this.#readers.delete(reader));
    raw.on('drain', () => {
      reader.blocked = false;
      reader.late = false;
      this.#pump(reader);
    });
    // An id alone is not an event, but sets the position to reconnect from.
    raw.write(`retry: 2000\nid: ${this.#epoch}-${reader.next - 1}\n\n${isGap ? 'event: gap\ndata: {}\n\n' : ''}`);
    this.#pump(reader);
  }

  close(): void {
    this.#closed = true;
    this.#unwatch();
    this.#timer?.cancel();
    for (const { raw } of this.#readers) raw.end();
    this.#readers.clear();
  }

  #record(event: JobServiceEvent): void {
    switch (event.kind) {
      case 'progress':
        this.#add('progress', { id: event.id, worker: event.worker, progress: event.progress }, sizeOfProgress(event.progress));
        break;
      case 'worker':
        this.#add(event.event, { worker: event.worker });
        break;
      case 'ledger': {
        const { jobs, rows, cut } = event.change;
        for (const job of jobs) this.#add('job', { ...job });
        if (cut) this.#add('jobs', { cut: true });
        for (const { kind, id } of rows) this.#add(kind, { id });
      }
    }
  }

  #add(name: string, data: FeedEvent['data'], size = 0): void {
    const chars = size + EVENT_CHARS;
    this.#ring.push({ n: this.#first + this.#ring.length, name, data, chars });
    this.#chars += chars;
    // Trimmed in large steps: removing one entry from the front of a long list costs as much as removing many.
    if (this.#ring.length >= 2 * RING || this.#chars >= 2 * RING_CHARS) this.#trim();
    if (this.#waking || this.#readers.size === 0) return;
    this.#waking = true;
    setImmediate(() => {
      this.#waking = false;
      for (const reader of this.#readers) this.#pump(reader);
    });
  }

  #trim(): void {
    let count = 0;
    for (const { chars } of this.#ring) {
      if (this.#ring.length - count <= RING && this.#chars <= RING_CHARS) break;
      this.#chars -= chars;
      count += 1;
    }
    this.#ring.splice(0, count);
    this.#first += count;
  }

  #pump(reader: Reader): void {
    const { raw, filter } = reader;
    if (reader.next < this.#first) return void raw.destroy();
    while (!reader.blocked && !raw.destroyed) {
      let text = '';
      for (; text.length < WRITE_CHARS; reader.next += 1) {
        const event = this.#ring[reader.next - this.#first];
        if (event === undefined) break;
        if (isWanted(event, filter)) text += this.#textOf(event);
      }
      if (text === '') return;
      reader.blocked = !raw.write(text);
    }
  }

  #textOf(event: FeedEvent): string {
    event.text ??= `id: ${this.#epoch}-${event.n}\nevent: ${event.name}\ndata: ${JSON.stringify(event.data)}\n\n`;
    return event.text;
  }

  #beat(): void {
    this.#timer = this.#clock.after(
      this.#heartbeatMs,
      () => {
        for (const reader of this.#readers) {
          if (reader.blocked && reader.late) reader.raw.destroy();
          else if (reader.blocked) reader.late = true;
          else reader.raw.write(': beat\n\n');
        }
        this.#beat();
      },
      { unref: true },
    );
  }
}

function isWanted({ name, data }: FeedEvent, { group, job }: FeedFilter): boolean {
  if (group === undefined && job === undefined) return true;
  if (name === 'jobs') return true;
  if (name === 'job' || name === 'progress')
    return (job === undefined || data['id'] === job) && (group === undefined || data['group'] === group);
  return name === 'group' && group !== undefined && data['id'] === group;
}
