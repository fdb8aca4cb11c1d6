import type { Clock, Timer } from '../../clock.js';
import type { Log } from '../../log.js';
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
  /** Called when the server has answered, or will not any more: whether it took the event. */
  readonly done?: ((taken: boolean) => void) | undefined;
}

const LOG = 'run:log';
/** What waits of log lines when a run writes them faster than the server takes them; more are left out, and counted. */
const MAX_WAITING_LOG_CHARS = 32 * 1024 * 1024;
/** Of all other events: the state behind each step is in one. */
const MAX_WAITING_EVENT_CHARS = 256 * 1024 * 1024;

/**
 * The events of one run on their way to the server: one at a time, each after the answer to the one before it.
 *
 * An event whose answer was lost with the connection is sent once more over the next one: the server may see it twice, but nothing goes
 * missing. One that is refused or not answered in time is given up, as nothing else would help, and the next one goes out.
 */
export class EventWriter {
  readonly #options: EventWriterOptions;
  #queue: Waiting[] = [];
  #logChars = 0;
  #eventChars = 0;
  #leftOut = 0;
  #writing = false;
  #flush: Timer | undefined;

  constructor(options: EventWriterOptions) {
    this.#options = options;
  }

  write(event: string, payload: Record<string, unknown>, done?: (taken: boolean) => void): void {
    const chars = Object.values(payload).reduce<number>((sum, value) => sum + (typeof value === 'string' ? value.length : 0), 0);
    if (this.#eventChars + chars > MAX_WAITING_EVENT_CHARS) {
      this.#options.log.warn('an event of a run was left out: too much waits', { event });
      done?.(false);
      return;
    }
    this.#eventChars += chars;
    this.#push({ event, payload, queuedAt: this.#options.clock.now(), chars, done });
  }

  /** A line without the run's id. */
  log(line: Record<string, unknown> & { readonly timestamp: string }): void {
    const chars = JSON.stringify(line).length;
    if (this.#logChars + chars > MAX_WAITING_LOG_CHARS) {
      this.#leftOut += 1;
      return;
    }
    if (this.#leftOut > 0) {
      const message = [`${this.#leftOut} log lines were left out: they came faster than they could be sent`];
      this.#leftOut = 0;
      this.log({ message, source: 'R/T', level: 'warn', timestamp: line.timestamp });
    }
    this.#logChars += chars;
    this.#push({ event: LOG, payload: line, queuedAt: this.#options.clock.now(), chars });
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
    for (let tries = 0; tries < 2; tries += 1) {
      if (!(await channel.joined())) return false;
      try {
        await channel.request(event, payload, messageMs);
        return true;
      } catch (thrown) {
        const error = thrown instanceof ReplyError ? thrown : new ReplyError('refused', String(thrown));
        if (error.why !== 'lost') {
          log.warn('an event of a run was not taken', { event, why: error.message });
          return false;
        }
      }
    }
    log.warn('an event of a run was lost twice with its connection', { event });
    return false;
  }
}
