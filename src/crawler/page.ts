import { LOCAL_JSON, parseJson } from '../kit/json.js';

/** A page of the crawl as the queue holds it, in the shape of a request of Crawlee's. */
export interface QueuedPage {
  readonly id: string;
  readonly url: string;
  readonly uniqueKey: string;
  /** Links away from a start address. */
  readonly depth: number;
  retryCount: number;
  /** Of each time that it failed. */
  readonly errorMessages: string[];
  /** Trying again would not help. */
  noRetry: boolean;
  /** Where redirects led to, if anywhere else. */
  loadedUrl?: string;
}

/** A page fails with it for good: it would fail the same way another time. */
export class Final extends Error {}

/** As the queue gives it back; what other programs have put there may lack fields. */
export function readPage(id: string, json: string): QueuedPage {
  const { url, uniqueKey = url, retryCount = 0, errorMessages = [], userData } = parseJson(json, LOCAL_JSON) as StoredPage;
  const depth = Number(userData?.depth ?? 0);
  return { id, url, uniqueKey, depth, retryCount, errorMessages: [...errorMessages], noRetry: false };
}

/** `handledAt`: in ISO 8601, of one that is done or given up; until then it has the milliseconds at which it is written. */
export function storedPage(page: QueuedPage, handledAt?: string): string {
  const { id, url, uniqueKey, depth, retryCount, noRetry, loadedUrl, errorMessages } = page;
  const when = handledAt === undefined ? { orderNo: Date.now() } : { handledAt };
  const told = { id, url, uniqueKey, method: 'GET', retryCount, ...when, noRetry, loadedUrl, errorMessages, userData: { depth } };
  return JSON.stringify(told);
}

interface StoredPage {
  readonly url: string;
  readonly uniqueKey?: string;
  readonly retryCount?: number;
  readonly errorMessages?: readonly string[];
  readonly userData?: { readonly depth?: number };
}
