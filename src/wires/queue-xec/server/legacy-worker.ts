import { randomBytes } from 'node:crypto';
import { pause } from '../../../clock.js';
import { asPeerworkError } from '../../../errors.js';
import { MAX_TIMEOUT_MS } from '../../../job/limits.js';
import { type LeaseKey, leaseKeyOf } from '../../../job/verbs.js';
import type { LeasedJob, WorkerRef } from '../../../ledger/ledger.js';
import type { JobService } from '../../../master/job-service.js';
import { QueueXecError } from '../errors.js';
import type { TransferKey } from '../protocol/transfer.js';
import type { Bundle } from './bundle.js';
import { leaseOf, openResult, outcomeOf, sealHello, sealJob } from './wire-job.js';

/** A queue-xec Worker ignores its own next request if the whole previous one took less than 15 ms, and then sleeps for 30 s. */
const MIN_REPLY_MS = 20;
/** Limits for a batch that a queue-xec Worker can echo without its connection hanging, in jobs and characters. */
const MAX_BATCH = 8;
const MAX_BATCH_CHARS = 12 * 1024;
/** Limits for a Worker of ours, which reads at the speed of the link. */
const OWN_BATCH = 32;
const OWN_BATCH_CHARS = 256 * 1024;
/** A Worker that requests work while idle has lost any job that it was given longer ago than this. */
const LOST_AFTER_MS = 5_000;
const SETTLE_RETRY_MS = 1_000;
const MAX_SETTLE_TRIES = 30;
const MAX_NAME_CHARS = 64;
/** Limit for jobs in flight; a Worker of ours may have several batches. */
const MAX_HELD = 128;
const maxHeld = () => MAX_HELD;

export interface LegacyWorkerOptions {
  readonly address: string;
  readonly service: JobService;
  readonly key: TransferKey;
  /** Called when the Worker has proved that it has the key. */
  readonly onProven: () => void;
}

interface SentJob {
  readonly key: LeaseKey;
  readonly at: number;
}

/** The Master's side of one queue-xec Worker, which keeps its address until it restarts. */
export class LegacyWorker {
  readonly connectedAt: number;
  readonly #options: LegacyWorkerOptions;
  readonly #hello = `hello ${randomBytes(16).toString('hex')}`;
  readonly #sent = new Map<string, SentJob>();
  /** Jobs leased for it but not sent yet, because they did not fit into the reply. */
  #reserve: LeasedJob[] = [];
  #openRequest: AbortController | undefined;
  #proven = false;
  #reconciled = false;
  #hash = '';
  #name: string;
  #closed = false;

  constructor(options: LegacyWorkerOptions) {
    this.#options = options;
    this.#name = options.address.slice(0, 12);
    this.connectedAt = options.service.clock.wall();
  }

  get ref(): WorkerRef {
    return { id: `queue-xec:${this.#options.address}`, name: this.#name };
  }

  get proven(): boolean {
    return this.#proven;
  }

  get running(): number {
    return this.#sent.size;
  }

  requestExecAssets(args: unknown, bundle: Bundle): object {
    this.#hash = bundle.hash;
    const currentHash = typeof args === 'object' && args !== null ? (args as { currentHash?: unknown }).currentHash : undefined;
    return currentHash === bundle.hash ? { status: 'same', files: [] } : bundle.reply(this.#options.key);
  }

  /** Replies to a request for work. Held open until there is work, another request replaces it, or the Worker is gone. */
  async requestWork(args: unknown, bundle: Bundle): Promise<object> {
    const { getBatch, batchSize, concurrent } = Object(args) as { getBatch?: unknown; batchSize?: unknown; concurrent?: unknown };
    const isOurs = concurrent === true;
    const { service, key } = this.#options;
    const requestedAt = service.clock.now();
    this.#openRequest?.abort();
    const open = new AbortController();
    this.#openRequest = open;
    if (this.#closed || this.#hash !== bundle.hash) return { ...Object(args), task: null };
    if (!this.#proven) {
      await pause(service.clock, MIN_REPLY_MS);
      return { ...Object(args), task: sealHello(key, this.#hello) };
    }
    if (!isOurs) await this.#reconcile(requestedAt);
    const wanted = getBatch ? Math.min(isOurs ? OWN_BATCH : MAX_BATCH, Math.max(1, Math.trunc(Number(batchSize)) || 1)) : 1;
    const jobs = await this.#lease(wanted, bundle.channels, open.signal);
    if (!isOurs) await pause(service.clock, Math.max(0, requestedAt + MIN_REPLY_MS - service.clock.now()));
    if (jobs.length === 0) return { ...Object(args), task: null };
    if (this.#closed) {
      await service.giveBack(this.ref, jobs, 'the worker is gone');
      return { ...Object(args), task: null };
    }
    const sealed = this.#send(jobs, isOurs ? OWN_BATCH_CHARS : MAX_BATCH_CHARS);
    return sealed.length === 1 ? { ...Object(args), task: sealed[0] } : { ...Object(args), batchTasks: sealed };
  }

  /**
   * Settles a result. Resolves with the reply, which a Worker of ours treats as the confirmation. Rejects with `queue-xec-key` if it does
   * not decrypt.
   */
  async shareResults(text: unknown): Promise<object | undefined> {
    const { service, key, onProven } = this.#options;
    const result = openResult(key, text);
    if (result === undefined) throw new QueueXecError('queue-xec-key', `a result of ${this.#options.address} does not open`);
    if (result.worker !== undefined && result.worker !== '') this.#name = printable(result.worker) || this.#name;
    if (!this.#proven && result.jobID === this.#hello) {
      this.#proven = true;
      onProven();
    }
    const lease = leaseOf(result.jobID);
    if (lease === undefined) {
      if (result.jobID !== this.#hello)
        service.log.warn('a result of no job of this Master was dropped', {
          worker: this.#name,
          hint: 'No action needed after changing the ledger. Otherwise check whether another Master uses this room and its token.',
        });
      return { ok: true };
    }
    const now = service.clock.now();
    const settlement = {
      ...lease,
      outcome: outcomeOf(result.data),
      startedAt: this.#sent.get(leaseKeyOf(lease))?.at ?? now,
      finishedAt: now,
    };
    for (let tries = 1; ; tries += 1) {
      try {
        const [reply] = await service.settle(this.ref, [settlement]);
        if (reply === 'stale')
          service.log.warn('an outcome came too late and was refused', {
            job: lease.id,
            worker: this.#name,
            hint: 'No action needed; another worker has the job. If this is frequent, raise the Master’s `--lease-ms`.',
          });
        break;
      } catch (error) {
        // queue-xec never sends a result again, so nobody else has it.
        if (tries === MAX_SETTLE_TRIES) throw asPeerworkError(error);
        await pause(service.clock, SETTLE_RETRY_MS);
      }
    }
    this.#sent.delete(leaseKeyOf(lease));
    return { ok: true };
  }

  /** Renews the leases; the ledger ends those of jobs that exceed their time limit. */
  async extend(): Promise<void> {
    const { service } = this.#options;
    const keys = this.#keys();
    if (keys.length === 0) return;
    for (const key of await service.extend(this.ref, keys)) this.forget(key);
  }

  /** Drops a lease that the Worker no longer has; the Worker cannot be notified. */
  forget(key: LeaseKey): void {
    const forgotten = leaseKeyOf(key);
    this.#sent.delete(forgotten);
    this.#reserve = this.#reserve.filter((job) => leaseKeyOf(job) !== forgotten);
  }

  /** Ends an open request with an empty reply. */
  withdraw(): void {
    this.#openRequest?.abort();
  }

  /** Call when the Worker is gone: gives back jobs it was not sent, and ends the leases of the others. */
  async leave(): Promise<void> {
    this.#closed = true;
    this.withdraw();
    const { service } = this.#options;
    const reserve = this.#reserve.splice(0);
    if (reserve.length > 0) await service.giveBack(this.ref, reserve, 'the worker is gone');
    const running = this.#sent.size > 0;
    this.#sent.clear();
    // The run may have crashed the Worker, so an attempt is charged.
    if (running) await service.ledger.reconcile(this.ref, [], service.clock.now(), { charge: true }, service.clock.now());
  }

  #keys(): LeaseKey[] {
    return [...[...this.#sent.values()].map(({ key }) => key), ...this.#reserve.map(({ id, lease }) => ({ id, lease }))];
  }

  async #lease(limit: number, channels: readonly string[], signal: AbortSignal): Promise<LeasedJob[]> {
    if (this.#reserve.length > 0) return this.#reserve.splice(0, limit);
    try {
      return await this.#options.service.lease({ worker: this.ref, channels, limit, waitMs: MAX_TIMEOUT_MS, maxHeld, signal });
    } catch (error) {
      // Revoked, or not approved yet.
      this.#options.service.log.debug('a queue-xec Worker is given nothing', { worker: this.#name, error });
      return [];
    }
  }

  #send(jobs: readonly LeasedJob[], maxChars: number): string[] {
    const { service, key } = this.#options;
    const at = service.clock.now();
    const sealed: string[] = [];
    let chars = 0;
    for (const [index, job] of jobs.entries()) {
      const text = sealJob(key, job);
      chars += text.length;
      if (index > 0 && chars > maxChars) {
        this.#reserve.push(...jobs.slice(index));
        break;
      }
      this.#sent.set(leaseKeyOf(job), { key: { id: job.id, lease: job.lease }, at });
      sealed.push(text);
    }
    return sealed;
  }

  /**
   * The Worker requests work because it is idle, so it has lost everything it was given earlier, through a broken link or a restart of this
   * Master. Jobs that were sent just now may still be in flight and are not lost.
   */
  async #reconcile(now: number): Promise<void> {
    const lost = [...this.#sent.values()].filter(({ at }) => at < now - LOST_AFTER_MS).map(({ key }) => key);
    if (this.#reconciled && lost.length === 0) return;
    const { service } = this.#options;
    if (lost.length > 0)
      service.log.warn('a queue-xec Worker has lost jobs that it was given; others get them', {
        worker: this.#name,
        jobs: lost.length,
        hint: 'No action needed if it was restarted. Otherwise check its log for the cause.',
      });
    for (const key of lost) this.forget(key);
    await service.ledger.reconcile(this.ref, this.#keys(), now + service.leaseMs, { charge: this.#reconciled }, now);
    this.#reconciled = true;
  }
}

function printable(name: string): string {
  return name.replace(/[\p{Cc}\p{Cs}]/gu, '').slice(0, MAX_NAME_CHARS);
}
