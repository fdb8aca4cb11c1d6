const BATCH = 100;
const BATCH_BYTES = 1024 * 1024;

/**
 * Group commit: items that arrive while a batch is in flight share the next one. `send` resolves with one result per item, in the same
 * order.
 */
export class Batches<T extends { readonly json: string }, A = void> {
  readonly #send: (batch: readonly T[]) => Promise<readonly A[]>;
  #waiting: { readonly item: T; readonly resolve: (answer: A) => void; readonly reject: (error: unknown) => void }[] = [];
  #sending = false;

  constructor(send: (batch: readonly T[]) => Promise<readonly A[]>) {
    this.#send = send;
  }

  add(item: T): Promise<A> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (this.#sending) return;
      this.#sending = true;
      // Items that arrive in the same turn of the event loop are in the first batch already.
      queueMicrotask(() => void this.#drain());
    });
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      let [count, bytes] = [0, 0];
      for (const { item } of this.#waiting) {
        const itemBytes = Buffer.byteLength(item.json);
        if (count > 0 && (count >= BATCH || bytes + itemBytes > BATCH_BYTES)) break;
        count += 1;
        bytes += itemBytes;
      }
      const batch = this.#waiting.splice(0, count);
      try {
        const answers = await this.#send(batch.map(({ item }) => item));
        for (const [at, { resolve }] of batch.entries()) resolve(answers[at] as A);
      } catch (thrown) {
        for (const { reject } of batch) reject(thrown);
      }
    }
    this.#sending = false;
  }
}
