import type { PageQueue } from './page-queue.js';
import type { AddAnswer, Claimed, QueueCounts, QueuedRequest } from './redis-queue.js';

/** The same queue for one crawler alone: nothing is shared, so there are no locks. */
export class MemoryQueue implements PageQueue {
  readonly #maxRequests: number;
  readonly #now: () => number;
  readonly #known = new Set<string>();
  readonly #handled = new Set<string>();
  readonly #inWork = new Map<string, QueuedRequest>();
  readonly #hosts = new Map<string, number>();
  /** In the order in which they came. */
  #ready: QueuedRequest[] = [];
  /** Not to be claimed before an instant. */
  #later: { readonly dueAt: number; readonly request: QueuedRequest }[] = [];
  #failed = 0;
  #full = false;

  constructor(maxRequests: number, now: () => number = Date.now) {
    this.#maxRequests = maxRequests;
    this.#now = now;
  }

  async join(): Promise<number> {
    return 1;
  }

  async add(requests: readonly QueuedRequest[]): Promise<AddAnswer[]> {
    return requests.map((request) => {
      if (this.#known.has(request.id)) return this.#handled.has(request.id) ? 'handled' : 'present';
      if (this.#known.size >= this.#maxRequests) {
        this.#full = true;
        return 'full';
      }
      this.#known.add(request.id);
      this.#ready.push(request);
      return 'added';
    });
  }

  /** Done by an earlier attempt. */
  protected restore(id: string, failed: boolean): void {
    this.#known.add(id);
    if (this.#handled.has(id)) return;
    this.#handled.add(id);
    if (failed) this.#failed += 1;
  }

  /** An earlier attempt had no room for some. */
  protected markFull(): void {
    this.#full = true;
  }

  async claim(limit: number): Promise<Claimed> {
    const now = this.#now();
    const due = this.#later.filter(({ dueAt }) => dueAt <= now);
    if (due.length > 0) {
      this.#later = this.#later.filter(({ dueAt }) => dueAt > now);
      this.#ready.push(...due.map(({ request }) => request));
    }
    const requests = this.#ready.splice(0, limit);
    for (const request of requests) this.#inWork.set(request.id, request);
    return { requests, pending: this.#pending, total: this.#known.size, known: true };
  }

  async prolong(): Promise<string[]> {
    return [];
  }

  async reclaim(id: string, json: string, { delayMs }: { readonly delayMs: number }): Promise<boolean> {
    if (!this.#inWork.delete(id)) return false;
    this.#later.push({ dueAt: this.#now() + delayMs, request: { id, json } });
    return true;
  }

  async handle(id: string, _json: string, failed: boolean): Promise<number> {
    this.#inWork.delete(id);
    this.#handled.add(id);
    if (failed) this.#failed += 1;
    return this.#pending;
  }

  async slot(host: string, everyMs: number): Promise<number> {
    const now = this.#now();
    const at = Math.max(now, this.#hosts.get(host) ?? 0);
    this.#hosts.set(host, at + everyMs);
    return at - now;
  }

  async counts(): Promise<QueueCounts> {
    const counts = { total: this.#known.size, handled: this.#handled.size, failed: this.#failed, pending: this.#pending };
    return { ...counts, full: this.#full, resultBytes: 0, byClient: new Map() };
  }

  get #pending(): number {
    return this.#ready.length + this.#later.length + this.#inWork.size;
  }
}
