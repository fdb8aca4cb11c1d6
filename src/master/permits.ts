import type { ErrorCode } from '../errors.js';
import type { Ledger, WorkerMarks, WorkerRecord, WorkerRef } from '../ledger/ledger.js';

export interface PermitsOptions {
  readonly ledger: Ledger;
  /** `manual`: a worker that was never seen may not work until it is approved. */
  readonly approval: 'auto' | 'manual';
  /** Asked first: a code refuses. */
  readonly admit: ((id: string, name: string) => ErrorCode | undefined) | undefined;
  /** What a worker may do has changed. */
  readonly onChange: (worker: WorkerRecord) => void;
}

/** Beyond, those that nobody approved are refused without being entered: whoever has the token can come under any number of keys. */
const MAX_KNOWN = 100_000;
const RELOAD_MS = 5_000;

/**
 * Which workers may work. The ledger remembers the marks; here they are at hand, because a handshake is answered at once. What another
 * Master marks on the same ledger arrives by `refresh`.
 */
export class Permits {
  readonly #options: PermitsOptions;
  readonly #known = new Map<string, WorkerRecord>();
  #loadedAt = Number.NEGATIVE_INFINITY;

  constructor(options: PermitsOptions) {
    this.#options = options;
  }

  /** Reads the marks; call it before the first handshake. */
  async load(): Promise<void> {
    for (const worker of await this.#options.ledger.listWorkers()) this.#take(worker);
  }

  /** A code of the error table refuses: `worker-revoked`, `worker-unapproved`. */
  admit(id: string, name: string, now: number): ErrorCode | undefined {
    const { admit, approval, ledger } = this.#options;
    const known = this.#known.get(id);
    const refusal = admit?.(id, name);
    if (refusal !== undefined) return refusal;
    if (known?.revokedAt !== undefined) return 'worker-revoked';
    if (approval === 'auto' || known?.approvedAt !== undefined) return undefined;
    // Entered, so that the owner sees whom there is to approve.
    if (known === undefined && this.#known.size < MAX_KNOWN)
      void ledger.markWorker({ id, name }, {}, now).then(
        (worker) => this.#take(worker),
        () => {},
      );
    return 'worker-unapproved';
  }

  /** Of one that was admitted: what has become of that since. */
  refusalOf(id: string): ErrorCode | undefined {
    const known = this.#known.get(id);
    if (known?.revokedAt !== undefined) return 'worker-revoked';
    return this.#options.approval === 'auto' || known?.approvedAt !== undefined ? undefined : 'worker-unapproved';
  }

  of(id: string): WorkerRecord | undefined {
    return this.#known.get(id);
  }

  async mark(worker: WorkerRef, marks: WorkerMarks, now: number): Promise<void> {
    this.#take(await this.#options.ledger.markWorker(worker, marks, now));
  }

  /** Another Master may have marked any of them: reads all again, at most every few seconds. */
  async reload(now: number): Promise<void> {
    if (now - this.#loadedAt < RELOAD_MS) return;
    this.#loadedAt = now;
    await this.load();
  }

  /** Reads the marks of one worker again. */
  async refresh(id: string): Promise<void> {
    const worker = await this.#options.ledger.getWorker(id);
    if (worker !== undefined) this.#take(worker);
  }

  #take(worker: WorkerRecord): void {
    const before = this.#known.get(worker.id);
    this.#known.set(worker.id, worker);
    const changed = (['revokedAt', 'drainedAt', 'approvedAt'] as const).some((mark) => before?.[mark] !== worker[mark]);
    if (changed) this.#options.onChange(worker);
  }
}
