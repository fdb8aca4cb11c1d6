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

interface Waiting {
  readonly event: string;
  readonly payload: Record<string, unknown>;
  readonly queuedAt: number;
  readonly chars: number;
  /** Stands for so many log lines. */
  readonly leftOut?: number;
  /** Called when the server has answered, or will not any more: whether it took the event. */
  readonly done?: ((taken: boolean) => void) | undefined;
}

const LOG = 'run:log';
/** What waits of log lines when a run writes them faster than the server takes them; of more the oldest are left out, and counted. */
const MAX_WAITING_LOG_CHARS = 32 * 1024 * 1024;
/** Leaving out is a walk over all that waits: an eighth more than needed goes at once. */
const KEPT_LOG_CHARS = (MAX_WAITING_LOG_CHARS * 7) / 8;
/** Of all other events: the state behind each step is in one. */
const MAX_WAITING_EVENT_CHARS = 256 * 1024 * 1024;
/** An event that went down with so many connections, one after the other, may be what ends them: it is given up. */
const LOST_TRIES = 5;

/**
 * The events of one run on their way to the server: one at a time, each after the answer to the one before it.
 *
 * An event whose answer was lost with the connection is sent again over the next one: the server may see it twice, but nothing goes
 * missing. One that is refused, or not answered in time by a server that is there, is given up, as nothing else would help, and the next one goes out.
 *
 * How the run ended comes last and is never left out; what is left out before it is the oldest log, in whose place a line says how much.
 */
export class EventWriter {
  readonly #options: EventWriterOptions;
  #queue: Waiting[] = [];
  #logChars = 0;
  #eventChars = 0;
  #writing = false;
  #flush: Timer | undefined;

  constructor(options: EventWriterOptions) {
    this.#options = options;
  }

  /** `done`: it is the last one. */
  write(event: string, payload: Record<string, unknown>, done?: (taken: boolean) => void): void {
    const chars = Object.values(payload).reduce<number>((sum, value) => sum + (typeof value === 'string' ? value.length : 0), 0);
    if (done === undefined && this.#eventChars + chars > MAX_WAITING_EVENT_CHARS) {
      this.#options.log.warn('an event of a run was left out: too much waits', {
        event,
        hint: 'Make the workflow log less, or find out why the Lightning server accepts its events so slowly.',
      });
      return;
    }
    this.#eventChars += chars;
    this.#push({ event, payload, queuedAt: this.#options.clock.now(), chars, done });
  }

  /** A line without the run's id. */
  log(line: Record<string, unknown> & { readonly timestamp: string }): void {
    const chars = JSON.stringify(line).length;
    this.#logChars += chars;
    this.#push({ event: LOG, payload: line, queuedAt: this.#options.clock.now(), chars });
    if (this.#logChars > MAX_WAITING_LOG_CHARS) this.#leaveOutOldest();
  }

  /** Nothing more is sent. */
  stop(): void {
    this.#flush?.cancel();
    for (const { done } of this.#queue.splice(0)) done?.(false);
  }

  #push(waiting: Waiting): void {
    this.#queue.push(waiting);
    if (!this.#writing) void this.#write();
  }

  /** The last lines tell most: the oldest go, and one in their place says how many they were. */
  #leaveOutOldest(): void {
    const kept: Waiting[] = [];
    let leftOut = 0;
    let [place, latest] = [0, undefined as Waiting | undefined];
    for (const waiting of this.#queue) {
      if (waiting.event !== LOG || (waiting.leftOut === undefined && this.#logChars <= KEPT_LOG_CHARS)) {
        kept.push(waiting);
        continue;
      }
      leftOut += waiting.leftOut ?? 1;
      this.#logChars -= waiting.chars;
      [place, latest] = [kept.length, waiting];
    }
    if (latest === undefined) return;
    const message = [`${leftOut} log lines were left out: they came faster than they could be sent`];
    const payload = { message, source: 'R/T', level: 'warn', timestamp: latest.payload['timestamp'] };
    const chars = JSON.stringify(payload).length;
    this.#logChars += chars;
    kept.splice(place, 0, { event: LOG, payload, queuedAt: latest.queuedAt, chars, leftOut });
    this.#queue = kept;
  }

  async #write(): Promise<void> {
    this.#writing = true;
    this.#flush?.cancel();
    for (let next = this.#take(); next !== undefined; next = this.#take()) {
      const taken = await this.#send(next.event, next.payload);
      next.done?.(taken);
    }
    this.#writing = false;
  }

  /** The next event, or a batch of log lines; undefined if there is none, or lines wait for company. */
  #take(): Waiting | undefined {
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
