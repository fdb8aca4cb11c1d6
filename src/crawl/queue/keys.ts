/**
 * The keys of one crawl queue in Redis. The first four are public:
 *
 * | key | type | content |
 * |---|---|---|
 * | `rq:<id>:meta` | hash | id, createdAt, modifiedAt, totalRequestCount, handledRequestCount, pendingRequestCount, failedRequestCount,
 * full, resultBytes, hungry (a client waits for pages); `n:<client>` pages claimed, `h:<client>` handled |
 * | `rq:<id>:requests` | hash | request id → the request as JSON |
 * | `rq:<id>:ordering` | sorted set | request id, by the millisecond at which it was added or, while it is locked, at which its lock
 * expires; negative for those that go first |
 * | `rq:<id>:handled` | set | ids of requests that are done or given up |
 * | `rq:<id>:locks` | hash | request id → the client that runs it |
 * | `rq:<id>:clients` | sorted set | client, by the millisecond of its last sign of life |
 * | `rq:<id>:hosts` | hash | host → the millisecond from which its next page may be requested |
 * | `rq:<id>:results` | hash | request id → its result as JSON, if results are returned in the outcome of the job: for its next attempt |
 */
const PARTS = ['meta', 'requests', 'ordering', 'handled', 'locks', 'clients', 'hosts', 'results'] as const;

/** Returns the keys in the order in which the scripts expect them. */
export function queueKeys(queue: string): readonly string[] {
  return PARTS.map((part) => `rq:${queue}:${part}`);
}

/** Channel that notifies clients of new pages. */
export function wakeChannel(queue: string): string {
  return `rq:${queue}:wake`;
}
