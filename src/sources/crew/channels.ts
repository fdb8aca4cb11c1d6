/** The first wait after an answer without work; doubles with each further one. */
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
 * When which channel is asked. A channel that gave a task is asked again at once, one that gave none after a wait that doubles up to the
 * interval. What goes wrong holds up all of them, since it is one server. All of it outlives claims, so that a claim that is withdrawn and made
 * again asks no sooner.
 */
export class Channels {
  readonly #channels: Channel[];
  readonly #intervalMs: number;
  readonly #random: () => number;
  #faultMs = 0;
  #notBefore = 0;

  constructor(names: readonly string[], intervalMs: number, random: () => number = Math.random) {
    this.#channels = names.map((name) => ({ name, dueAt: 0, idleMs: 0, hot: false }));
    this.#intervalMs = Math.max(intervalMs, names.length * IDLE_REQUEST_MS);
    this.#random = random;
  }

  /** The channel that has waited longest and may be asked now, and for how many tasks at once. */
  next(now: number, most: number): { readonly name: string; readonly count: number } | undefined {
    if (now < this.#notBefore) return undefined;
    const channel = this.#channels.find(({ dueAt }) => dueAt <= now);
    // While the server is in trouble one request is enough to find out that it is not any more.
    return channel && { name: channel.name, count: channel.hot && this.#faultMs === 0 ? most : 1 };
  }

  /** How long until one may be asked. */
  waitMs(now: number): number {
    const due = Math.min(...this.#channels.map(({ dueAt }) => dueAt));
    return Math.max(0, this.#notBefore - now, due - now);
  }

  /** What came of asking: as many tasks as were asked for, or fewer. */
  answered(name: string, asked: number, given: number, now: number): void {
    this.#faultMs = 0;
    const at = this.#channels.findIndex((channel) => channel.name === name);
    const [channel] = this.#channels.splice(at, 1);
    if (channel === undefined) return;
    // The others first: each has its turn.
    this.#channels.push(channel);
    channel.hot = given > 0;
    channel.idleMs = given > 0 ? 0 : Math.min(Math.max(MIN_IDLE_MS, channel.idleMs * 2), this.#intervalMs);
    channel.dueAt = given === asked ? now : now + (given > 0 ? 0 : channel.idleMs * (0.75 + this.#random() / 2));
  }

  /** The server did not answer, or not with an answer. */
  failed(now: number, retryAfterMs = 0): void {
    this.#faultMs = Math.min(Math.max(MIN_FAULT_MS, this.#faultMs * 2), MAX_FAULT_MS);
    this.#notBefore = now + Math.max(this.#faultMs * (0.75 + this.#random() / 2), retryAfterMs);
  }

  /** There is reason to believe that this channel has work now. */
  expect(name: string, now: number): void {
    const channel = this.#channels.find((each) => each.name === name);
    if (channel === undefined) return;
    channel.idleMs = 0;
    channel.dueAt = Math.min(channel.dueAt, now);
  }
}
