import type { WorkerRef } from './records.js';
import type { Transaction } from './transaction.js';

const ENTER = `INSERT INTO worker (seq, id, name) VALUES (?, ?, ?)
  ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING seq`;
const FIND = 'SELECT id FROM worker WHERE seq = ?';

const MAX_KNOWN = 10_000;

/** Workers by number: a job names its worker by 1 to 8 bytes instead of a key of 43 characters. Remembers those it has seen. */
export class WorkerBook {
  readonly #known = new Map<string, { readonly seq: number; readonly name: string }>();

  /** The number of a worker; enters a new one, or a new name. */
  async seqOf(transaction: Transaction, worker: WorkerRef): Promise<number> {
    const known = this.#known.get(worker.id);
    if (known?.name === worker.name) return known.seq;
    const fresh = await transaction.draw('worker', 1);
    const [row] = await transaction.all<{ seq: number }>(ENTER, [fresh, worker.id, worker.name.replaceAll('\0', '')]);
    const seq = row?.seq ?? fresh;
    // Whoever has the token can come under any number of keys.
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(worker.id, { seq, name: worker.name });
    return seq;
  }

  async idOf(transaction: Transaction, seq: number): Promise<string | undefined> {
    const [row] = await transaction.all<{ id: string }>(FIND, [seq]);
    return row?.id;
  }

  /** After a rollback: what was entered in it is not there. */
  forget(): void {
    this.#known.clear();
  }
}
