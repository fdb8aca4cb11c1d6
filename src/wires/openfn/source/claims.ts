import * as v from 'valibot';
import type { Clock } from '../../../clock.js';
import { Backoff } from '../../../kit/backoff.js';
import { Wake } from '../../../kit/wake.js';
import type { Log } from '../../../log.js';
import type { Channel } from './channel.js';
import type { SourceSettings, Workloop } from './options.js';
import type { ClaimedRun } from './run-session.js';

const UNREADABLE_CLAIM =
  'Check that `--openfn-url` is a Lightning server, and update the older of the two: they speak different versions of its protocol.';

const GROWTH = 1.15;
/** How long a withdrawn claim waits for the answer that is on its way. */
const GRACE_MS = 1_000;
/** A run that was not joined for so long belongs to another soon: the server waits 30 s. */
const JOIN_MS = 25_000;

const claimReply = v.object({ runs: v.array(v.object({ id: v.pipe(v.string(), v.minLength(1)), token: v.string() })) });

interface Group extends Workloop {
  active: number;
  asking: boolean;
  /** The waits after claims that bring nothing. */
  readonly backoff: Backoff;
  /** Not to be asked for before. */
  dueAt: number;
}

export interface TakenRun {
  readonly run: ClaimedRun;
  /** To be called once, when the run is over. */
  readonly free: () => void;
}

export interface ClaimsOptions extends Pick<SourceSettings, 'workerName' | 'backoffMs' | 'claimMs'> {
  readonly workloops: readonly Workloop[];
  readonly queue: () => Channel;
  readonly clock: Clock;
  readonly log: Log;
  readonly onAnswer: (runs: number) => void;
}

/**
 * Asks the server for runs: for each group of queues one claim at a time and one instant for the next. There is one timer for all.
 * The places of a group are taken from the claim's answer until the run is over; a claim that is lost with its connection takes none.
 */
export class Claims {
  readonly #options: ClaimsOptions;
  readonly #groups: readonly Group[];
  readonly #taken = new Set<string>();
  /** Came when nobody waited for them any more, or beyond what was asked for. */
  #late: (TakenRun & { readonly at: number })[] = [];
  #closed = false;
  readonly #news = new Wake();

  constructor(options: ClaimsOptions) {
    this.#options = options;
    const [firstMs, capMs] = options.backoffMs;
    this.#groups = options.workloops.map((group) => ({
      ...group,
      ...{ active: 0, asking: false, dueAt: 0 },
      backoff: new Backoff({ firstMs, capMs, factor: GROWTH }),
    }));
  }

  /** Waits for at least one run. None when the signal aborts or it is closed. */
  async claim(capacity: number, signal: AbortSignal): Promise<TakenRun[]> {
    while (!this.#closed) {
      const late = this.#takeLate(capacity);
      if (late.length > 0 || signal.aborted) return late;
      const group = this.#nextGroup();
      const waitMs = group === undefined ? undefined : group.dueAt - this.#options.clock.now();
      if (group === undefined || waitMs === undefined || waitMs > 0) await this.#sleep(waitMs, signal);
      else {
        const taken = await this.#ask(group, capacity, signal);
        if (taken.length > 0) return taken;
      }
    }
    return [];
  }

  /** There may be work now: ask at once. */
  hurry(): void {
    for (const group of this.#groups) group.dueAt = 0;
    this.#news.wake();
  }

  close(): void {
    this.#closed = true;
    for (const { free } of this.#late.splice(0)) free();
    this.#news.wake();
  }

  #nextGroup(): Group | undefined {
    if (!this.#options.queue().isJoined) return undefined;
    const able = this.#groups.filter(({ active, capacity, asking }) => !asking && active < capacity);
    return able.sort((a, b) => a.dueAt - b.dueAt)[0];
  }

  async #ask(group: Group, capacity: number, signal: AbortSignal): Promise<TakenRun[]> {
    group.asking = true;
    let waited = true;
    const answer = this.#request(group, Math.min(capacity, group.capacity - group.active)).then((runs) => {
      group.asking = false;
      const taken = runs.map((run) => this.#take(group, run));
      // A server may give more than it was asked for.
      const now = waited ? taken.splice(0, capacity) : [];
      const at = this.#options.clock.now();
      this.#late.push(...taken.map((each) => ({ ...each, at })));
      if (this.#closed) this.close();
      this.#news.wake();
      return now;
    });
    const given = new Promise<TakenRun[]>((resolve) => {
      const giveUp = () => {
        const timer = this.#options.clock.after(GRACE_MS, () => {
          waited = false;
          resolve([]);
        });
        void answer.finally(() => timer.cancel());
      };
      if (signal.aborted) giveUp();
      else signal.addEventListener('abort', giveUp, { once: true });
      void answer.then(resolve).finally(() => signal.removeEventListener('abort', giveUp));
    });
    return given;
  }

  /** Never rejects. */
  async #request(group: Group, demand: number): Promise<readonly ClaimedRun[]> {
    const { queue, workerName, claimMs, clock, log } = this.#options;
    const askedAt = clock.now();
    group.dueAt = Number.POSITIVE_INFINITY;
    let runs: readonly ClaimedRun[] = [];
    try {
      const response = await queue().request('claim', { demand, worker_name: workerName, queues: group.queues }, claimMs);
      const parsed = v.safeParse(claimReply, response);
      if (!parsed.success) log.warn('the response to a claim is malformed', { hint: UNREADABLE_CLAIM });
      // What runs here already was given twice.
      else runs = parsed.output.runs.filter(({ id }, at, all) => !this.#taken.has(id) && all.findIndex((other) => other.id === id) === at);
    } catch (error) {
      log.debug('a claim got no response', { error });
    }
    // Work that was announced meanwhile has set it already.
    const hurried = group.dueAt !== Number.POSITIVE_INFINITY;
    if (runs.length > 0) group.backoff.reset();
    const waitMs = runs.length > 0 ? 0 : group.backoff.nextMs();
    if (!hurried) group.dueAt = runs.length > 0 ? askedAt : clock.now() + waitMs;
    this.#options.onAnswer(runs.length);
    return runs;
  }

  #take(group: Group, run: ClaimedRun): TakenRun {
    group.active += 1;
    this.#taken.add(run.id);
    let freed = false;
    const free = () => {
      if (freed) return;
      freed = true;
      group.active -= 1;
      group.dueAt = 0;
      this.#taken.delete(run.id);
      this.#news.wake();
    };
    return { run, free };
  }

  #takeLate(capacity: number): TakenRun[] {
    const now = this.#options.clock.now();
    const stale = this.#late.filter(({ at }) => now - at > JOIN_MS);
    this.#late = this.#late.filter((each) => !stale.includes(each));
    for (const { free } of stale) free();
    return this.#late.splice(0, capacity);
  }

  /** Until something has changed, the time is over, or the signal aborts. */
  #sleep(waitMs: number | undefined, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    return this.#news.wait({ signal, within: waitMs === undefined ? undefined : { ms: waitMs, clock } });
  }
}
