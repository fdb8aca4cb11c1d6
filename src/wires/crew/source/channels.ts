import { Backoff } from '../../../kit/backoff.js';

/** The first wait of a channel whose work has just run out; doubles with each further one. */
const MIN_IDLE_MS = 500;
/** crew's own interval. */
export const DEFAULT_INTERVAL_MS = 15_000;
/** With many idle channels each waits longer: all together are asked about this often. */
const IDLE_REQUEST_MS = 500;
const MIN_FAULT_MS = 1_000;
const MAX_FAULT_MS = 60_000;

interface Channel {
  readonly name: string;
  dueAt: number;
  idleMs: number;
  /** Its last answer was a task: it may be asked for several at once. */
  hot: boolean;
}

/**
 * When which channel is asked. A channel that gave a task is asked again at once; when it has no more, after a wait that doubles up to the interval, and one that
 * never had any each interval, as crew's own workers do: idle, it is asked no more often than by them. What goes wrong holds up all of them, since it is one server. All of it outlives claims, so that a claim that is withdrawn and made
 * again asks no sooner.
 */
export class Channels {
  readonly #channels: Channel[];
  readonly #intervalMs: number;
  readonly #random: () => number;
  readonly #faults: Backoff;
  #notBefore = 0;

  constructor(names: readonly string[], intervalMs: number, random: () => number = Math.random) {
    const interval = Math.max(intervalMs, names.length * IDLE_REQUEST_MS);
    this.#channels = names.map((name) => ({ name, dueAt: 0, idleMs: interval, hot: false }));
    this.#intervalMs = interval;
    this.#random = random;
    this.#faults = new Backoff({ firstMs: MIN_FAULT_MS, capMs: MAX_FAULT_MS, random });
  }

  /** The channel that has waited longest and may be asked now, and for how many tasks at once. */
  next(now: number, most: number): { readonly name: string; readonly count: number } | undefined {
    if (now < this.#notBefore) return undefined;
    const channel = this.#channels.find(({ dueAt }) => dueAt <= now);
    // While the server is failing, one request is enough to find out that it is not any more.
    return channel && { name: channel.name, count: channel.hot && this.#faults.failures === 0 ? most : 1 };
  }

  /** How long until one may be asked. */
  waitMs(now: number): number {
    const due = Math.min(...this.#channels.map(({ dueAt }) => dueAt));
    return Math.max(0, this.#notBefore - now, due - now);
  }

  /** What came of asking: as many tasks as were asked for, or fewer. */
  answered(name: string, asked: number, given: number, now: number): void {
    this.#faults.reset();
    const at = this.#channels.findIndex((channel) => channel.name === name);
    const [channel] = this.#channels.splice(at, 1);
    if (channel === undefined) return;
    // The others first: each has its turn.
    this.#channels.push(channel);
    channel.hot = given > 0;
    channel.idleMs = given > 0 ? 0 : Math.min(Math.max(MIN_IDLE_MS, channel.idleMs * 2), this.#intervalMs);
    // Never sooner than that, so that many a short wait does not add up to more requests.
    channel.dueAt = given === asked ? now : now + (given > 0 ? 0 : channel.idleMs * (1 + this.#random() / 10));
  }

  /** The server did not answer, or not with an answer. */
  failed(now: number, retryAfterMs = 0): void {
    this.#notBefore = now + Math.max(this.#faults.nextMs(), retryAfterMs);
  }

  /** There is reason to believe that this channel has work now. */
  expect(name: string, now: number): void {
    const channel = this.#channels.find((each) => each.name === name);
    if (channel === undefined) return;
    channel.idleMs = 0;
    channel.dueAt = Math.min(channel.dueAt, now);
  }
}
