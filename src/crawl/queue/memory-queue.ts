import { PageIds } from './page-ids.js';
import type { PageQueue } from './page-queue.js';
import type { AddAnswer, Claimed, QueueCounts, QueuedRequest } from './redis-queue.js';
import { TextSpool } from './text-spool.js';

/** The same queue for a single crawler: nothing is shared, so there are no locks. Of a handled page only the bits of its id are kept. */
export class MemoryQueue implements PageQueue {
  readonly #maxRequests: number;
  readonly #now: () => number;
  readonly #pages = new PageIds();
  readonly #inWork = new Set<string>();
  readonly #hosts = new Map<string, number>();
  /** In order of arrival: id and JSON, separated by a line feed. */
  readonly #ready = new TextSpool();
  /** Requests that may not be claimed before a certain time. */
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
      if (this.#pages.has(request.id)) return this.#pages.isHandled(request.id) ? 'handled' : 'present';
      if (this.#pages.size >= this.#maxRequests) {
        this.#full = true;
        return 'full';
      }
      this.#pages.add(request.id);
      this.#push(request);
      return 'added';
    });
  }

  /** Restores a page that an earlier attempt has handled. */
  protected restore(id: string, failed: boolean): void {
    if (this.#pages.handle(id) && failed) this.#failed += 1;
  }

  /** Called if an earlier attempt had no room for some pages. */
  protected markFull(): void {
    this.#full = true;
  }

  async claim(limit: number): Promise<Claimed> {
    const now = this.#now();
    const due = this.#later.filter(({ dueAt }) => dueAt <= now);
    if (due.length > 0) {
      this.#later = this.#later.filter(({ dueAt }) => dueAt > now);
      for (const { request } of due) this.#push(request);
    }
    const requests: QueuedRequest[] = [];
    while (requests.length < limit) {
      const line = this.#ready.shift();
      if (line === undefined) break;
      const end = line.indexOf('\n');
      const request = { id: line.slice(0, end), json: line.slice(end + 1) };
      this.#inWork.add(request.id);
      requests.push(request);
    }
    return { requests, pending: this.#pending, total: this.#pages.size, known: true };
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
    if (this.#pages.handle(id) && failed) this.#failed += 1;
    return this.#pending;
  }

  async slot(host: string, everyMs: number): Promise<number> {
    const now = this.#now();
    const at = Math.max(now, this.#hosts.get(host) ?? 0);
    this.#hosts.set(host, at + everyMs);
    return at - now;
  }

  async counts(): Promise<QueueCounts> {
    const counts = { total: this.#pages.size, handled: this.#pages.handled, failed: this.#failed, pending: this.#pending };
    return { ...counts, full: this.#full, resultBytes: 0, byClient: new Map() };
  }

  #push({ id, json }: QueuedRequest): void {
    this.#ready.push(`${id}\n${json}`);
  }

  get #pending(): number {
    return this.#ready.length + this.#later.length + this.#inWork.size;
  }
}
