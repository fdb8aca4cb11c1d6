import { LOCAL_JSON, parseJson } from '../kit/json.js';

/** A page of the crawl as the queue stores it, in the format of a Crawlee request. */
export interface QueuedPage {
  readonly id: string;
  readonly url: string;
  readonly uniqueKey: string;
  /** Number of links away from a start address. */
  readonly depth: number;
  retryCount: number;
  /** One message per failed attempt. */
  readonly errorMessages: string[];
  /** A retry would not help. */
  noRetry: boolean;
  /** Address after redirects, if different. */
  loadedUrl?: string;
}

/** Thrown for a permanent failure of a page: a retry would fail the same way. */
export class Final extends Error {}

/** Parses a stored page; pages stored by other programs may lack fields. */
export function readPage(id: string, json: string): QueuedPage {
  const { url, uniqueKey = url, retryCount = 0, errorMessages = [], userData } = parseJson(json, LOCAL_JSON) as StoredPage;
  const depth = Number(userData?.depth ?? 0);
  return { id, url, uniqueKey, depth, retryCount, errorMessages: [...errorMessages], noRetry: false };
}

/**
 * Formats a page for the queue. `handledAt`: in ISO 8601, for a page that is done or given up; without it, `orderNo` is the current time
 * in milliseconds.
 */
export function storedPage(page: QueuedPage, handledAt?: string): string {
  const { id, url, uniqueKey, depth, retryCount, noRetry, loadedUrl, errorMessages } = page;
  const when = handledAt === undefined ? { orderNo: Date.now() } : { handledAt };
  const stored = { id, url, uniqueKey, method: 'GET', retryCount, ...when, noRetry, loadedUrl, errorMessages, userData: { depth } };
  return JSON.stringify(stored);
}

interface StoredPage {
  readonly url: string;
  readonly uniqueKey?: string;
  readonly retryCount?: number;
  readonly errorMessages?: readonly string[];
  readonly userData?: { readonly depth?: number };
}
