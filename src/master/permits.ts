import type { ErrorCode } from '../errors.js';
import type { Ledger, WorkerMarks, WorkerRecord, WorkerRef } from '../ledger/ledger.js';

export interface PermitsOptions {
  readonly ledger: Ledger;
  /** `manual`: an unknown worker may not work until it is approved. */
  readonly approval: 'auto' | 'manual';
  /** Called first; returning an error code refuses the worker. */
  readonly admit: ((id: string, name: string) => ErrorCode | undefined) | undefined;
  /** Called when the permission of a worker has changed. */
  readonly onChange: (worker: WorkerRecord) => void;
}

/** Beyond this many, unapproved workers are refused without being recorded: a holder of the token can generate any number of keys. */
const MAX_KNOWN = 100_000;
const RELOAD_MS = 5_000;

/**
 * Decides which workers may work. The ledger stores the marks; they are cached in memory because a handshake needs an immediate
 * decision. Marks set by another Master on the same ledger arrive through `refresh`.
 */
export class Permits {
  readonly #options: PermitsOptions;
  readonly #known = new Map<string, WorkerRecord>();
  #loadedAt = Number.NEGATIVE_INFINITY;

  constructor(options: PermitsOptions) {
    this.#options = options;
  }

  /** Reads all marks; call it before the first handshake. */
  async load(): Promise<void> {
    for (const worker of await this.#options.ledger.listWorkers()) this.#store(worker);
  }

  /** Returns the code that refuses this worker (`worker-revoked`, `worker-unapproved`, or that of `admit`); undefined if it may work. */
  admit(id: string, name: string, now: number): ErrorCode | undefined {
    const { admit, approval, ledger } = this.#options;
    const known = this.#known.get(id);
    const refusal = admit?.(id, name);
    if (refusal !== undefined) return refusal;
    if (known?.revokedAt !== undefined) return 'worker-revoked';
    if (approval === 'auto' || known?.approvedAt !== undefined) return undefined;
    // Recorded, so that the owner sees the workers waiting for approval.
    if (known === undefined && this.#known.size < MAX_KNOWN)
      void ledger.markWorker({ id, name }, {}, now).then(
        (worker) => this.#store(worker),
        () => {},
      );
    return 'worker-unapproved';
  }

  /** Returns the code that refuses a worker which was admitted earlier; undefined if it may still work. */
  refusalOf(id: string): ErrorCode | undefined {
    const known = this.#known.get(id);
    if (known?.revokedAt !== undefined) return 'worker-revoked';
    return this.#options.approval === 'auto' || known?.approvedAt !== undefined ? undefined : 'worker-unapproved';
  }

  /** Returns the marks of a worker; undefined if it has none. */
  of(id: string): WorkerRecord | undefined {
    return this.#known.get(id);
  }

  /** Stores marks of a worker in the ledger, and applies them. */
  async mark(worker: WorkerRef, marks: WorkerMarks, now: number): Promise<void> {
    this.#store(await this.#options.ledger.markWorker(worker, marks, now));
  }

  /** Reads all marks again, at most every five seconds, because another Master may have changed any of them. */
  async reload(now: number): Promise<void> {
    if (now - this.#loadedAt < RELOAD_MS) return;
    this.#loadedAt = now;
    await this.load();
  }

  /** Reads the marks of one worker again. */
  async refresh(id: string): Promise<void> {
    const worker = await this.#options.ledger.getWorker(id);
    if (worker !== undefined) this.#store(worker);
  }

  #store(worker: WorkerRecord): void {
    const before = this.#known.get(worker.id);
    this.#known.set(worker.id, worker);
    const changed = (['revokedAt', 'drainedAt', 'approvedAt'] as const).some((mark) => before?.[mark] !== worker[mark]);
    if (changed) this.#options.onChange(worker);
  }
}
