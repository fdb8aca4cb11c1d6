import * as v from 'valibot';
import type { Clock } from '../../../clock.js';
import { Backoff } from '../../../kit/backoff.js';
import { Wake } from '../../../kit/wake.js';
import type { Log } from '../../../log.js';
import type { Channel } from './channel.js';
import type { SourceSettings, Workloop } from './options.js';
import type { ClaimedRun } from './run-session.js';

const MALFORMED_CLAIM_HINT =
  'Check that `--openfn-url` is a Lightning server, and update the older of the two: they speak different versions of its protocol.';

const GROWTH = 1.15;
/** How long a withdrawn claim waits for the reply in flight. */
const GRACE_MS = 1_000;
/** A run that is not joined within this time will soon belong to another worker: the server waits 30 s. */
const JOIN_MS = 25_000;

const claimReply = v.object({ runs: v.array(v.object({ id: v.pipe(v.string(), v.minLength(1)), token: v.string() })) });

interface Group extends Workloop {
  active: number;
  claiming: boolean;
  /** Back-off after claims that return no runs. */
  readonly backoff: Backoff;
  /** Earliest instant of the next claim. */
  dueAt: number;
}

export interface TakenRun {
  readonly run: ClaimedRun;
  /** Must be called when the run is over; further calls have no effect. */
  readonly release: () => void;
}

export interface ClaimsOptions extends Pick<SourceSettings, 'workerName' | 'backoffMs' | 'claimMs'> {
  readonly workloops: readonly Workloop[];
  readonly queue: () => Channel;
  readonly clock: Clock;
  readonly log: Log;
  readonly onReply: (runs: number) => void;
}

/**
 * Claims runs from the server: for each group of queues one claim at a time, with the instant of the next one. A group's places are taken
 * from the reply to a claim until the run is over; a claim that is lost with its connection takes none.
 */
export class Claims {
  readonly #options: ClaimsOptions;
  readonly #groups: readonly Group[];
  readonly #taken = new Set<string>();
  /** Runs that arrived after their claim was withdrawn, or in excess of its demand. */
  #late: (TakenRun & { readonly at: number })[] = [];
  #closed = false;
  readonly #news = new Wake();

  constructor(options: ClaimsOptions) {
    this.#options = options;
    const [firstMs, capMs] = options.backoffMs;
    this.#groups = options.workloops.map((group) => ({
      ...group,
      ...{ active: 0, claiming: false, dueAt: 0 },
      backoff: new Backoff({ firstMs, capMs, factor: GROWTH }),
    }));
  }

  /** Waits for at least one run. Resolves with none when the signal aborts or after `close`. */
  async claim(capacity: number, signal: AbortSignal): Promise<TakenRun[]> {
    while (!this.#closed) {
      const late = this.#takeLate(capacity);
      if (late.length > 0 || signal.aborted) return late;
      const group = this.#nextGroup();
      const waitMs = group === undefined ? undefined : group.dueAt - this.#options.clock.now();
      if (group === undefined || waitMs === undefined || waitMs > 0) await this.#sleep(waitMs, signal);
      else {
        const taken = await this.#claimFrom(group, capacity, signal);
        if (taken.length > 0) return taken;
      }
    }
    return [];
  }

  /** Claims at once, because there may be work. */
  claimSoon(): void {
    for (const group of this.#groups) group.dueAt = 0;
    this.#news.wake();
  }

  close(): void {
    this.#closed = true;
    for (const { release } of this.#late.splice(0)) release();
    this.#news.wake();
  }

  #nextGroup(): Group | undefined {
    if (!this.#options.queue().isJoined) return undefined;
    const ready = this.#groups.filter(({ active, capacity, claiming }) => !claiming && active < capacity);
    return ready.sort((a, b) => a.dueAt - b.dueAt)[0];
  }

  async #claimFrom(group: Group, capacity: number, signal: AbortSignal): Promise<TakenRun[]> {
    group.claiming = true;
    let isWaiting = true;
    const reply = this.#request(group, Math.min(capacity, group.capacity - group.active)).then((runs) => {
      group.claiming = false;
      const taken = runs.map((run) => this.#take(group, run));
      // A server may return more runs than requested.
      const now = isWaiting ? taken.splice(0, capacity) : [];
      const at = this.#options.clock.now();
      this.#late.push(...taken.map((each) => ({ ...each, at })));
      if (this.#closed) this.close();
      this.#news.wake();
      return now;
    });
    const result = new Promise<TakenRun[]>((resolve) => {
      const withdraw = () => {
        const timer = this.#options.clock.after(GRACE_MS, () => {
          isWaiting = false;
          resolve([]);
        });
        void reply.finally(() => timer.cancel());
      };
      if (signal.aborted) withdraw();
      else signal.addEventListener('abort', withdraw, { once: true });
      void reply.then(resolve).finally(() => signal.removeEventListener('abort', withdraw));
    });
    return result;
  }

  /** Never rejects. */
  async #request(group: Group, demand: number): Promise<readonly ClaimedRun[]> {
    const { queue, workerName, claimMs, clock, log } = this.#options;
    const requestedAt = clock.now();
    group.dueAt = Number.POSITIVE_INFINITY;
    let runs: readonly ClaimedRun[] = [];
    try {
      const response = await queue().request('claim', { demand, worker_name: workerName, queues: group.queues }, claimMs);
      const parsed = v.safeParse(claimReply, response);
      if (!parsed.success) log.warn('the response to a claim is malformed', { hint: MALFORMED_CLAIM_HINT });
      // Skip runs that are here already, and duplicates within the reply.
      else runs = parsed.output.runs.filter(({ id }, at, all) => !this.#taken.has(id) && all.findIndex((other) => other.id === id) === at);
    } catch (error) {
      log.debug('a claim got no response', { error });
    }
    // `hurry` may have set `dueAt` in the meantime.
    const hurried = group.dueAt !== Number.POSITIVE_INFINITY;
    if (runs.length > 0) group.backoff.reset();
    const waitMs = runs.length > 0 ? 0 : group.backoff.nextMs();
    if (!hurried) group.dueAt = runs.length > 0 ? requestedAt : clock.now() + waitMs;
    this.#options.onReply(runs.length);
    return runs;
  }

  #take(group: Group, run: ClaimedRun): TakenRun {
    group.active += 1;
    this.#taken.add(run.id);
    let freed = false;
    const release = () => {
      if (freed) return;
      freed = true;
      group.active -= 1;
      group.dueAt = 0;
      this.#taken.delete(run.id);
      this.#news.wake();
    };
    return { run, release };
  }

  #takeLate(capacity: number): TakenRun[] {
    const now = this.#options.clock.now();
    const stale = this.#late.filter(({ at }) => now - at > JOIN_MS);
    this.#late = this.#late.filter((each) => !stale.includes(each));
    for (const { release } of stale) release();
    return this.#late.splice(0, capacity);
  }

  /** Waits for a change, the timeout, or the signal. */
  #sleep(waitMs: number | undefined, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    return this.#news.wait({ signal, within: waitMs === undefined ? undefined : { ms: waitMs, clock } });
  }
}
