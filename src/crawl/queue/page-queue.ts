import type { AddAnswer, Claimed, QueueCounts, QueuedRequest } from './redis-queue.js';

/** Port to a crawler's queue, either shared in Redis or in its own memory. */
export interface PageQueue {
  join(): Promise<number>;
  add(requests: readonly QueuedRequest[]): Promise<AddAnswer[]>;
  /** `ahead`: how many more may be claimed while pages are plentiful. */
  claim(limit: number, ahead: number): Promise<Claimed>;
  /** Renews locks; returns the ids that are no longer this client's. */
  prolong(ids: readonly string[]): Promise<string[]>;
  reclaim(id: string, json: string, options: { readonly delayMs: number }): Promise<boolean>;
  handle(id: string, json: string, failed: boolean): Promise<number>;
  slot(host: string, everyMs: number): Promise<number>;
  counts(): Promise<QueueCounts>;
}
