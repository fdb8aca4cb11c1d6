const BATCH = 100;
const BATCH_BYTES = 1024 * 1024;

/** Group commit: what comes while a batch is on its way shares the next one. */
export class Batches<T extends { readonly json: string }> {
  readonly #send: (batch: readonly T[]) => Promise<void>;
  #waiting: { readonly item: T; readonly done: (error?: unknown) => void }[] = [];
  #sending = false;

  constructor(send: (batch: readonly T[]) => Promise<void>) {
    this.#send = send;
  }

  add(item: T): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, done: (error) => (error === undefined ? resolve() : reject(error)) });
      if (!this.#sending) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#sending = true;
    while (this.#waiting.length > 0) {
      let [count, bytes] = [0, 0];
      for (const { item } of this.#waiting) {
        if (count > 0 && (count >= BATCH || bytes + item.json.length > BATCH_BYTES)) break;
        count += 1;
        bytes += item.json.length;
      }
      const batch = this.#waiting.splice(0, count);
      const failed = await this.#send(batch.map(({ item }) => item)).then(
        () => undefined,
        (error: unknown) => error ?? new Error('it failed'),
      );
      for (const { done } of batch) done(failed);
    }
    this.#sending = false;
  }
}
