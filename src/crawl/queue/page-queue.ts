import type { AddAnswer, Claimed, QueueCounts, QueuedRequest } from './redis-queue.js';

/** What a crawler needs of its queue, be it shared in Redis or its own in memory. */
export interface PageQueue {
  join(): Promise<number>;
  add(requests: readonly QueuedRequest[]): Promise<AddAnswer[]>;
  /** `ahead`: how many more it may be while there is plenty. */
  claim(limit: number, ahead: number): Promise<Claimed>;
  /** Answers the ids that are this client's no longer. */
  prolong(ids: readonly string[]): Promise<string[]>;
  reclaim(id: string, json: string, options: { readonly delayMs: number }): Promise<boolean>;
  handle(id: string, json: string, failed: boolean): Promise<number>;
  slot(host: string, everyMs: number): Promise<number>;
  counts(): Promise<QueueCounts>;
}
