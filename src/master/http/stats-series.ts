import type { Timer } from '../../clock.js';
import type { JobChange } from '../../ledger/ledger-change.js';
import type { JobService } from '../job-service.js';
import type { Series } from './series.js';

export const STEP_MS = 5_000;
const STEPS = 720;
/** Jobs tracked for their latencies at the same time; beyond that, the oldest are evicted. */
const MAX_FOLLOWED = 20_000;
/** Latencies kept per step; beyond that, a random sample. */
const MAX_SAMPLES = 500;

interface Step {
  readonly at: number;
  added: number;
  completed: number;
  failed: number;
  readonly waits: Sample;
  readonly runs: Sample;
}

/** A bounded random sample of the values seen (reservoir sampling). */
class Sample {
  readonly #values: number[] = [];
  #seen = 0;

  add(value: number): void {
    this.#seen += 1;
    if (this.#values.length < MAX_SAMPLES) this.#values.push(value);
    else {
      const at = Math.floor(Math.random() * this.#seen);
      if (at < MAX_SAMPLES) this.#values[at] = value;
    }
  }

  quantile(share: number): number | null {
    const sorted = [...this.#values].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null;
  }
}

/** The last hour in steps of five seconds, kept in memory and fed by this Master's ledger events; starts empty with each Master. */
export class StatsSeries {
  readonly settled = { completed: 0, failed: 0, cancelled: 0 };
  readonly #service: JobService;
  readonly #steps: Step[] = [];
  readonly #since = new Map<string, { readonly state: string; readonly at: number }>();
  readonly #unwatch: () => void;
  #timer: Timer | undefined;
  #total: number | undefined;
  #deleted = 0;
  #changed = true;
  #closed = false;

  constructor(service: JobService) {
    this.#service = service;
    this.#unwatch = service.watch((event) => {
      if (event.kind !== 'ledger') return;
      this.#changed = true;
      for (const job of event.change.jobs) this.#record(job);
    });
    this.#startStep();
  }

  read(): Series {
    const steps = this.#steps;
    return {
      stepMs: STEP_MS,
      at: steps.map(({ at }) => at),
      added: steps.map(({ added }) => added),
      completed: steps.map(({ completed }) => completed),
      failed: steps.map(({ failed }) => failed),
      waitP50Ms: steps.map(({ waits }) => waits.quantile(0.5)),
      waitP95Ms: steps.map(({ waits }) => waits.quantile(0.95)),
      runP50Ms: steps.map(({ runs }) => runs.quantile(0.5)),
      runP95Ms: steps.map(({ runs }) => runs.quantile(0.95)),
    };
  }

  close(): void {
    this.#closed = true;
    this.#unwatch();
    this.#timer?.cancel();
  }

  #startStep(): void {
    if (this.#closed) return;
    const now = this.#service.clock.wall();
    this.#steps.push({ at: now - (now % STEP_MS), added: 0, completed: 0, failed: 0, waits: new Sample(), runs: new Sample() });
    if (this.#steps.length > STEPS) this.#steps.shift();
    void this.#count(this.#steps.at(-2));
    this.#timer = this.#service.clock.after(STEP_MS - (now % STEP_MS), () => this.#startStep(), { unref: true });
  }

  /** Derives additions from the change of the total: a change event does not distinguish a new job from one that waits again. */
  async #count(step: Step | undefined): Promise<void> {
    if (!this.#changed) return;
    this.#changed = false;
    const deleted = this.#deleted;
    this.#deleted = 0;
    try {
      const total = Object.values(await this.#service.ledger.counts()).reduce((sum, count) => sum + count, 0);
      if (step !== undefined && this.#total !== undefined) step.added = Math.max(0, total - this.#total + deleted);
      this.#total = total;
    } catch (error) {
      this.#changed = true;
      this.#deleted += deleted;
      this.#service.log.debug('jobs could not be counted', { error });
    }
  }

  #record({ id, state }: JobChange): void {
    const step = this.#steps.at(-1);
    const before = this.#since.get(id);
    const at = this.#service.clock.now();
    this.#since.delete(id);
    if (state === 'ready' || state === 'leased') this.#since.set(id, { state, at });
    if (this.#since.size > MAX_FOLLOWED) for (const [oldest] of this.#since) if (this.#since.delete(oldest)) break;
    if (state === 'deleted') this.#deleted += 1;
    if (state === 'completed' || state === 'failed' || state === 'cancelled') this.settled[state] += 1;
    if (step === undefined) return;
    if (state === 'completed' || state === 'failed') step[state] += 1;
    if (before === undefined) return;
    if (state === 'leased' && before.state === 'ready') step.waits.add(at - before.at);
    if ((state === 'completed' || state === 'failed') && before.state === 'leased') step.runs.add(at - before.at);
  }
}
