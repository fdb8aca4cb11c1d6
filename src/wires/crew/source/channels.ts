import { Backoff } from '../../../kit/backoff.js';

/** First wait of a channel that has just run out of tasks; doubles with each further empty reply. */
const MIN_IDLE_MS = 500;
/** With many idle channels each waits longer, so that their combined request interval is about this. */
const IDLE_REQUEST_MS = 500;
const MIN_FAULT_MS = 1_000;
const MAX_FAULT_MS = 60_000;

interface Channel {
  readonly name: string;
  dueAt: number;
  idleMs: number;
  /** Whether its last reply contained a task; then several may be requested at once. */
  hot: boolean;
}

/**
 * Decides when to poll which channel. A channel that returned a task is polled again at once; when it runs out, after a wait that doubles
 * up to the interval. A channel that never had a task is polled once per interval, so that an idle channel causes no more requests than
 * crew's own workers do. Errors delay all channels, since they share one server. The state outlives claims: withdrawing a claim and making
 * it again polls no sooner.
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

  /** Returns the due channel that has waited longest, and how many tasks to request at once; undefined if none is due. */
  next(now: number, maxTasks: number): { readonly name: string; readonly count: number } | undefined {
    if (now < this.#notBefore) return undefined;
    const channel = this.#channels.find(({ dueAt }) => dueAt <= now);
    // While the server is failing, a single request is enough to probe it.
    return channel && { name: channel.name, count: channel.hot && this.#faults.failures === 0 ? maxTasks : 1 };
  }

  /** Milliseconds until a channel is due. */
  waitMs(now: number): number {
    const due = Math.min(...this.#channels.map(({ dueAt }) => dueAt));
    return Math.max(0, this.#notBefore - now, due - now);
  }

  /** Records a reply that gave as many tasks as requested, or fewer. */
  onReply(name: string, requested: number, received: number, now: number): void {
    this.#faults.reset();
    const at = this.#channels.findIndex((channel) => channel.name === name);
    const [channel] = this.#channels.splice(at, 1);
    if (channel === undefined) return;
    // Move it to the end, so that each channel has its turn.
    this.#channels.push(channel);
    channel.hot = received > 0;
    channel.idleMs = received > 0 ? 0 : Math.min(Math.max(MIN_IDLE_MS, channel.idleMs * 2), this.#intervalMs);
    // Jitter only lengthens the wait; otherwise frequent short waits would add up to more requests.
    channel.dueAt = received === requested ? now : now + (received > 0 ? 0 : channel.idleMs * (1 + this.#random() / 10));
  }

  /** Records that the server did not respond, or responded with an error. */
  onFailure(now: number, retryAfterMs = 0): void {
    this.#notBefore = now + Math.max(this.#faults.nextMs(), retryAfterMs);
  }

  /** Makes a channel due now because it is expected to have work. */
  expect(name: string, now: number): void {
    const channel = this.#channels.find((each) => each.name === name);
    if (channel === undefined) return;
    channel.idleMs = 0;
    channel.dueAt = Math.min(channel.dueAt, now);
  }
}
