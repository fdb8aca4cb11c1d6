import type { WorkerRef } from './records.js';
import type { Transaction } from './transaction.js';

const UPSERT = `INSERT INTO worker (seq, id, name) VALUES (?, ?, ?)
  ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING seq`;
const FIND = 'SELECT id FROM worker WHERE seq = ?';

const MAX_KNOWN = 10_000;

/** Numbers of workers: a job stores its worker in 1 to 8 bytes instead of a key of 43 characters. Known workers are cached. */
export class WorkerBook {
  readonly #known = new Map<string, { readonly seq: number; readonly name: string }>();

  /** Returns the number of a worker; registers a new worker or name. */
  async seqOf(transaction: Transaction, worker: WorkerRef): Promise<number> {
    const known = this.#known.get(worker.id);
    if (known?.name === worker.name) return known.seq;
    const fresh = await transaction.draw('worker', 1);
    const [row] = await transaction.all<{ seq: number }>(UPSERT, [fresh, worker.id, worker.name.replaceAll('\0', '')]);
    const seq = row?.seq ?? fresh;
    // Bounded: a peer with the token can show up under any number of keys.
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(worker.id, { seq, name: worker.name });
    return seq;
  }

  async idOf(transaction: Transaction, seq: number): Promise<string | undefined> {
    const [row] = await transaction.all<{ id: string }>(FIND, [seq]);
    return row?.id;
  }

  /** Called after a rollback: workers registered in that transaction do not exist. */
  forget(): void {
    this.#known.clear();
  }
}
