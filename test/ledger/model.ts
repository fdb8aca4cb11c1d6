import type { JobInput } from '../../src/job/job.js';
import type { LeaseKey, SettleAnswer, Settlement } from '../../src/job/verbs.js';
import type { AddedJob, CancelledJob, JobCounts, JobState, WorkerRef } from '../../src/ledger/ledger.js';

export type ModelRun = LeaseKey & { readonly attempt?: number };

interface ModelJob {
  readonly input: JobInput & Required<Pick<JobInput, 'id' | 'channel' | 'priority' | 'attempts' | 'delayMs' | 'backoffMs'>>;
  state: JobState;
  runAt: number;
  charged: number;
  lease: number;
  leaseUntil: number;
  worker: string;
  /** The last lease that its worker settled. */
  settledLease: number;
  /** Whether its lease expired in silence, so that it can be resumed. */
  silent: boolean;
}

/** What the ledger should do, as simply as possible: a list and loops. */
export class ModelLedger {
  readonly #jobs: ModelJob[] = [];
  readonly #jitter: number;

  constructor(random: number) {
    this.#jitter = 1 + random / 4;
  }

  add(inputs: readonly (Omit<JobInput, 'timeoutMs'> & { id: string })[], now: number): AddedJob[] {
    return inputs.map((input) => {
      if (this.#find(input.id)) return { id: input.id, added: false };
      const full = { channel: '', priority: 0, timeoutMs: 0, attempts: 3, delayMs: 0, backoffMs: 1_000, ...input };
      const runAt = now + full.delayMs;
      this.#jobs.push({
        input: full,
        state: 'ready',
        runAt,
        charged: 0,
        lease: 0,
        leaseUntil: 0,
        worker: '',
        settledLease: 0,
        silent: false,
      });
      return { id: input.id, added: true };
    });
  }

  claim(worker: WorkerRef, channels: readonly string[], limit: number, until: number, now: number): Required<ModelRun>[] {
    // The list is in order of arrival, and the sort is stable.
    const ready = this.#jobs.filter((job) => job.state === 'ready' && job.runAt <= now && channels.includes(job.input.channel));
    ready.sort((a, b) => b.input.priority - a.input.priority);
    return ready.slice(0, limit).map((job) => {
      Object.assign(job, { state: 'leased', lease: job.lease + 1, leaseUntil: until, worker: worker.id, silent: false });
      return { id: job.input.id, lease: job.lease, attempt: job.charged + 1 };
    });
  }

  settle(worker: WorkerRef, settlements: readonly Settlement[], now: number): SettleAnswer[] {
    return settlements.map((settlement) => {
      const job = this.#find(settlement.id);
      if (job === undefined || job.lease !== settlement.lease || job.worker !== worker.id) return 'stale';
      if (job.settledLease === job.lease) return 'duplicate';
      if (this.#held(worker, settlement) === undefined) return 'stale';
      const { outcome } = settlement;
      job.settledLease = job.lease;
      if (outcome.state !== 'released') job.charged += 1;
      if (outcome.state === 'completed') job.state = 'completed';
      else if (outcome.state === 'failed' && (!outcome.retry || job.charged >= job.input.attempts)) job.state = 'failed';
      else {
        job.state = 'ready';
        job.runAt = outcome.state === 'failed' ? now + Math.round(job.input.backoffMs * 2 ** (job.charged - 1) * this.#jitter) : 0;
      }
      return 'settled';
    });
  }

  extend(worker: WorkerRef, leases: readonly LeaseKey[], until: number): LeaseKey[] {
    return leases
      .filter((lease) => {
        const job = this.#held(worker, lease);
        if (job) job.leaseUntil = until;
        return !job;
      })
      .map(({ id, lease }) => ({ id, lease }));
  }

  reconcile(worker: WorkerRef, holding: readonly LeaseKey[], until: number, charge: boolean, now: number): LeaseKey[] {
    const lost = this.extend(worker, holding, until);
    for (const job of this.#jobs)
      if (
        job.state === 'leased' &&
        job.worker === worker.id &&
        !holding.some((lease) => lease.id === job.input.id && lease.lease === job.lease)
      )
        this.#lose(job, charge, now);
    return lost;
  }

  cancel(ids: readonly string[]): CancelledJob[] {
    const cancelled: CancelledJob[] = [];
    for (const id of ids) {
      const job = this.#find(id);
      if (job?.state === 'leased') cancelled.push({ id, running: { workerId: job.worker, lease: job.lease } });
      else if (job?.state === 'ready') cancelled.push({ id });
      else continue;
      job.state = 'cancelled';
      job.silent = false;
    }
    return cancelled;
  }

  expire(now: number): number {
    const ended = this.#jobs.filter((job) => job.state === 'leased' && job.leaseUntil <= now);
    for (const job of ended) {
      this.#lose(job, true, now);
      job.silent = job.state === 'ready';
    }
    return ended.length;
  }

  counts(): JobCounts {
    const counts = { blocked: 0, ready: 0, leased: 0, completed: 0, failed: 0, cancelled: 0 };
    for (const job of this.#jobs) counts[job.state] += 1;
    return counts;
  }

  nextWakeAt(now: number): number | undefined {
    const instants = this.#jobs.flatMap((job) => {
      if (job.state === 'leased') return [Math.max(now, job.leaseUntil)];
      return job.state === 'ready' && job.runAt > now ? [job.runAt] : [];
    });
    return instants.length === 0 ? undefined : Math.min(...instants);
  }

  unfinished(): number {
    return this.#jobs.filter((job) => job.state === 'ready' || job.state === 'leased').length;
  }

  ended() {
    return this.#jobs.map((job) => ({ id: job.input.id, state: job.state, attempts: job.charged }));
  }

  #lose(job: ModelJob, charge: boolean, now: number): void {
    if (charge) job.charged += 1;
    job.state = job.charged >= job.input.attempts ? 'failed' : 'ready';
    job.runAt = Math.min(job.runAt, now);
  }

  #find(id: string): ModelJob | undefined {
    return this.#jobs.find((job) => job.input.id === id);
  }

  #held(worker: WorkerRef, lease: LeaseKey): ModelJob | undefined {
    const job = this.#find(lease.id);
    if (job?.silent === true && job.lease === lease.lease && job.worker === worker.id) {
      // Nobody else has it: continue as if the lease had not expired.
      job.silent = false;
      job.state = 'leased';
      job.charged -= 1;
    }
    return job?.state === 'leased' && job.lease === lease.lease && job.worker === worker.id ? job : undefined;
  }
}
