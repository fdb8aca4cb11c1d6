import type { Clock, Timer } from '../../../clock.js';
import type { Log } from '../../../log.js';
import type { Channel } from './channel.js';
import { ReplyError } from './socket.js';

export interface EventWriterOptions {
  readonly runId: string;
  readonly channel: Channel;
  readonly clock: Clock;
  readonly log: Log;
  readonly messageMs: number;
  readonly batchLogs: { readonly lines: number; readonly waitMs: number } | undefined;
}

interface PendingEvent {
  readonly event: string;
  readonly payload: Record<string, unknown>;
  readonly queuedAt: number;
  readonly chars: number;
  /** Number of log lines that this line replaces. */
  readonly dropped?: number;
  /** Called when the server has replied or the event was given up, with whether the server accepted it. */
  readonly done?: ((accepted: boolean) => void) | undefined;
}

const LOG = 'run:log';
/** Limit for pending log lines, in characters. If a run logs faster than the server accepts lines, the oldest are dropped and counted. */
const MAX_PENDING_LOG_CHARS = 32 * 1024 * 1024;
/** Dropping walks the whole queue, so it drops an eighth more than needed at once. */
const KEPT_LOG_CHARS = (MAX_PENDING_LOG_CHARS * 7) / 8;
/** Limit for all other pending events, in characters; each step's final state is in one of them. */
const MAX_PENDING_EVENT_CHARS = 256 * 1024 * 1024;
/** An event that was lost with this many connections in a row may be what kills them, so it is given up. */
const LOST_TRIES = 5;

/**
 * Sends the events of one run to the server, one at a time, each after the reply to the previous one.
 *
 * An event whose reply was lost with the connection is sent again over the next one: the server may see duplicates, but nothing goes
 * missing. An event that the server rejects, or does not reply to in time although the connection is alive, is given up, since retrying
 * would not help, and the next one is sent.
 *
 * The end of the run is sent last and is never dropped. When events must be dropped before it, the oldest log lines are, and a line in
 * their place reports how many.
 */
export class EventWriter {
  readonly #options: EventWriterOptions;
  #queue: PendingEvent[] = [];
  #logChars = 0;
  #eventChars = 0;
  #writing = false;
  #flush: Timer | undefined;

  constructor(options: EventWriterOptions) {
    this.#options = options;
  }

  /** Queues an event. `done` marks the last event, which is queued whatever the limits. */
  write(event: string, payload: Record<string, unknown>, done?: (accepted: boolean) => void): void {
    const chars = Object.values(payload).reduce<number>((sum, value) => sum + (typeof value === 'string' ? value.length : 0), 0);
    if (done === undefined && this.#eventChars + chars > MAX_PENDING_EVENT_CHARS) {
      this.#options.log.warn('an event of a run was left out: too much waits', {
        event,
        hint: 'Make the workflow log less, or find out why the Lightning server accepts its events so slowly.',
      });
      return;
    }
    this.#eventChars += chars;
    this.#push({ event, payload, queuedAt: this.#options.clock.now(), chars, done });
  }

  /** Queues a log line, without the run's id. */
  log(line: Record<string, unknown> & { readonly timestamp: string }): void {
    const chars = JSON.stringify(line).length;
    this.#logChars += chars;
    this.#push({ event: LOG, payload: line, queuedAt: this.#options.clock.now(), chars });
    if (this.#logChars > MAX_PENDING_LOG_CHARS) this.#dropOldestLines();
  }

  /** Discards all pending events; nothing more is sent. */
  stop(): void {
    this.#flush?.cancel();
    for (const { done } of this.#queue.splice(0)) done?.(false);
  }

  #push(pending: PendingEvent): void {
    this.#queue.push(pending);
    if (!this.#writing) void this.#write();
  }

  /** Drops the oldest lines, since the last ones are the most useful, and reports their number in a line in their place. */
  #dropOldestLines(): void {
    const kept: PendingEvent[] = [];
    let dropped = 0;
    let [place, latest] = [0, undefined as PendingEvent | undefined];
    for (const pending of this.#queue) {
      if (pending.event !== LOG || (pending.dropped === undefined && this.#logChars <= KEPT_LOG_CHARS)) {
        kept.push(pending);
        continue;
      }
      dropped += pending.dropped ?? 1;
      this.#logChars -= pending.chars;
      [place, latest] = [kept.length, pending];
    }
    if (latest === undefined) return;
    const message = [`${dropped} log lines were left out: they came faster than they could be sent`];
    const payload = { message, source: 'R/T', level: 'warn', timestamp: latest.payload['timestamp'] };
    const chars = JSON.stringify(payload).length;
    this.#logChars += chars;
    kept.splice(place, 0, { event: LOG, payload, queuedAt: latest.queuedAt, chars, dropped });
    this.#queue = kept;
  }

  async #write(): Promise<void> {
    this.#writing = true;
    this.#flush?.cancel();
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      const accepted = await this.#send(next.event, next.payload);
      next.done?.(accepted);
    }
    this.#writing = false;
  }

  /** Returns the next event, or a batch of log lines; undefined if there is none, or the batch may still grow. */
  #next(): PendingEvent | undefined {
    const [first] = this.#queue;
    if (first === undefined) return undefined;
    const { batchLogs, clock, runId } = this.#options;
    if (first.event !== LOG || batchLogs === undefined) {
      this.#queue.shift();
      if (first.event === LOG) this.#logChars -= first.chars;
      else this.#eventChars -= first.chars;
      return first.event === LOG ? { ...first, payload: { run_id: runId, ...first.payload } } : first;
    }
    const end = this.#queue.findIndex(({ event }) => event !== LOG);
    const count = Math.min(batchLogs.lines, end === -1 ? this.#queue.length : end);
    const dueMs = first.queuedAt + batchLogs.waitMs - clock.now();
    if (end === -1 && count < batchLogs.lines && dueMs > 0) {
      this.#flush = clock.after(dueMs, () => !this.#writing && void this.#write());
      return undefined;
    }
    const lines = this.#queue.splice(0, count);
    for (const { chars } of lines) this.#logChars -= chars;
    return { ...first, event: 'run:batch_logs', payload: { run_id: runId, logs: lines.map(({ payload }) => payload) } };
  }

  async #send(event: string, payload: Record<string, unknown>): Promise<boolean> {
    const { channel, log, messageMs } = this.#options;
    for (let tries = 0; tries < LOST_TRIES; tries += 1) {
      if (!(await channel.joined())) return false;
      try {
        await channel.request(event, payload, messageMs);
        return true;
      } catch (thrown) {
        const error = thrown instanceof ReplyError ? thrown : new ReplyError('refused', String(thrown));
        if (error.why !== 'lost') {
          log.warn('an event of a run was not taken', {
            event,
            why: error.message,
            hint: 'Check the Lightning server’s log for the cause; the run itself continues.',
          });
          return false;
        }
      }
    }
    log.warn('an event of a run was lost with each connection that it was sent on, and is given up', {
      event,
      connections: LOST_TRIES,
      hint: 'Check the connection to the Lightning server and the proxies in between: one may refuse messages of this size.',
    });
    return false;
  }
}
