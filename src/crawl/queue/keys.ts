/**
 * The keys of one crawl queue in Redis. The first four are what others may look at:
 *
 * | key | type | content |
 * |---|---|---|
 * | `rq:<id>:meta` | hash | id, createdAt, modifiedAt, totalRequestCount, handledRequestCount, pendingRequestCount, failedRequestCount, full, resultBytes, hungry (a client waits for pages); `n:<client>` pages claimed, `h:<client>` handled |
 * | `rq:<id>:requests` | hash | request id → the request as JSON |
 * | `rq:<id>:ordering` | sorted set | request id, by the millisecond it was added or, while it is locked, at which its lock ends; negative for those that go first |
 * | `rq:<id>:handled` | set | ids of requests that are done or given up |
 * | `rq:<id>:locks` | hash | request id → the client that runs it |
 * | `rq:<id>:clients` | sorted set | client, by the millisecond of its last sign of life |
 * | `rq:<id>:hosts` | hash | host → the millisecond from which its next page may be asked for |
 * | `rq:<id>:results` | hash | request id → its result as JSON, where results come back in the outcome of the job: for the next attempt of it |
 */
const PARTS = ['meta', 'requests', 'ordering', 'handled', 'locks', 'clients', 'hosts', 'results'] as const;

/** In the order in which the scripts know them. */
export function queueKeys(queue: string): readonly string[] {
  return PARTS.map((part) => `rq:${queue}:${part}`);
}

/** Tells the clients that there are new pages. */
export function wakeChannel(queue: string): string {
  return `rq:${queue}:wake`;
}
