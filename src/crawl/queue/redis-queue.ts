import { Batches } from './batches.js';
import { queueKeys, wakeChannel } from './keys.js';
import {
  ADD,
  CLAIM,
  COUNTS,
  EXPIRE,
  HANDLE,
  JOIN,
  KEEP,
  PROLONG,
  RECLAIM,
  RELEASE,
  REMOVE,
  RESULTS_FROM,
  type Script,
  SLOT,
} from './scripts.js';

/** The methods of a Redis client that the queue needs; ioredis has them. */
export interface ScriptRedis {
  evalsha(sha1: string, keys: number, ...rest: (string | number)[]): Promise<unknown>;
  eval(lua: string, keys: number, ...rest: (string | number)[]): Promise<unknown>;
}

/** A request with its id and its JSON text. */
export interface QueuedRequest {
  readonly id: string;
  readonly json: string;
}

export type AddAnswer = 'added' | 'present' | 'handled' | 'full';

export interface Claimed {
  readonly requests: readonly QueuedRequest[];
  /** Requests that are not handled yet, including those in progress. */
  readonly pending: number;
  readonly total: number;
  /** False if Redis has lost the queue that was joined. */
  readonly known: boolean;
}

export interface QueueCounts {
  readonly total: number;
  readonly handled: number;
  readonly failed: number;
  readonly pending: number;
  /** Whether requests were refused for lack of room. */
  readonly full: boolean;
  /** Bytes of the stored results. */
  readonly resultBytes: number;
  /** Handled requests by client. */
  readonly byClient: ReadonlyMap<string, number>;
}

/** The result of one page, as JSON text. */
export interface KeptResult {
  readonly id: string;
  readonly failed: boolean;
  readonly json: string;
}

export interface RedisQueueOptions {
  readonly redis: ScriptRedis;
  readonly queue: string;
  /** Id of this client: unique among those that work on the queue at the same time. */
  readonly client: string;
  /** Limit on requests that the queue may ever hold. */
  readonly maxRequests?: number;
  readonly lockMs?: number;
  /** Whether clients are balanced in how much they claim. Default true. */
  readonly balance?: boolean;
}

const DEFAULT_LOCK_MS = 15_000;
const RESULTS_AT_ONCE = 100;
/** Long enough for a crawl that is paused overnight, short enough that forgotten ones do not fill Redis. */
const KEEP_MS = 7 * 86_400_000;
/** A client that has not claimed for this long is busy or gone: the others need not wait for it. */
const SILENT_MS = 1_000;
const answers = ['added', 'present', 'handled', 'full'] as const;

/**
 * One client of a crawl queue that several machines share in Redis. Its only state is which queue it joined: everything else is in the
 * keys.
 */
export class RedisQueue {
  readonly #options: RedisQueueOptions;
  readonly #keys: readonly string[];
  readonly #wake: string;
  readonly #adds = new Batches<QueuedRequest, AddAnswer>((requests) => this.#add(requests, '0'));
  readonly #handles = new Batches<KeptResult, number>((pages) => this.#handle(pages));
  /** Creation time of the queue that was joined, which distinguishes it from one created later under the same name. */
  #madeAt: string | undefined;

  constructor(options: RedisQueueOptions) {
    this.#options = options;
    this.#keys = queueKeys(options.queue);
    this.#wake = wakeChannel(options.queue);
  }

  /** Joins the queue, and later signals that the client is alive. Returns how many clients have joined so far. */
  async join(): Promise<number> {
    const [clients, madeAt] = (await this.#run(JOIN, this.#options.queue, this.#options.client, KEEP_MS)) as [number, string];
    this.#madeAt ??= madeAt;
    return clients;
  }

  /** `first`: before all others. Concurrent calls share a round trip. */
  async add(requests: readonly QueuedRequest[], first = false): Promise<AddAnswer[]> {
    if (first) return this.#add(requests, '1');
    return Promise.all(requests.map((request) => this.#adds.add(request)));
  }

  async #add(requests: readonly QueuedRequest[], place: '0' | '1'): Promise<AddAnswer[]> {
    if (requests.length === 0) return [];
    const max = this.#options.maxRequests ?? Number.MAX_SAFE_INTEGER;
    const parts = requests.flatMap(({ id, json }) => [id, json]);
    const codes = (await this.#run(ADD, this.#wake, max, place, ...parts)) as number[];
    return codes.map((code) => answers[code] ?? 'full');
  }

  async claim(limit: number, ahead = 0): Promise<Claimed> {
    const { client, lockMs = DEFAULT_LOCK_MS, balance = true } = this.#options;
    const [pending, total, madeAt, ...parts] = (await this.#run(CLAIM, client, limit, lockMs, balance ? '1' : '0', SILENT_MS, ahead)) as [
      number,
      number,
      string,
      ...string[],
    ];
    const known = this.#madeAt === undefined || madeAt === this.#madeAt;
    return { requests: pairs(parts).map(([id, json]) => ({ id, json })), pending, total, known };
  }

  /** Renews locks; returns the ids that are no longer this client's. */
  async prolong(ids: readonly string[], lockMs = this.#options.lockMs ?? DEFAULT_LOCK_MS, first?: boolean): Promise<string[]> {
    const place = first === undefined ? '' : first ? '1' : '0';
    const ends = (await this.#run(PROLONG, this.#options.client, lockMs, place, ...ids)) as number[];
    return ids.filter((_, at) => (ends[at] ?? -1) < 0);
  }

  /** Returns a request to the queue for any client to claim, after a delay in milliseconds; false if it was not this client's. */
  async reclaim(id: string, json = '', { delayMs = 0, first = false } = {}): Promise<boolean> {
    return (await this.#run(RECLAIM, this.#options.client, id, first ? '1' : '0', delayMs, json)) === 1;
  }

  /** Marks a request as done or given up. Returns how many are not handled yet. */
  handle(id: string, json: string, failed: boolean): Promise<number> {
    return this.#handles.add({ id, json, failed });
  }

  async #handle(pages: readonly KeptResult[]): Promise<readonly number[]> {
    const parts = pages.flatMap(({ id, failed, json }) => [id, failed ? '1' : '0', json]);
    const pending = Number(await this.#run(HANDLE, this.#options.client, ...parts));
    return pages.map(() => pending);
  }

  /** Frees everything that a dead client had claimed. */
  async release(client: string): Promise<number> {
    return Number(await this.#run(RELEASE, this.#wake, client));
  }

  /** Returns how long to wait until the host may be requested again, and reserves that slot for the caller. */
  async slot(host: string, everyMs: number): Promise<number> {
    return Number(await this.#run(SLOT, host, everyMs));
  }

  async counts(): Promise<QueueCounts> {
    const [total, handled, failed, pending, full, resultBytes, ...parts] = (await this.#run(COUNTS)) as [
      ...[number, number, number, number, number, number],
      ...string[],
    ];
    return {
      total,
      handled,
      failed,
      pending,
      full: full === 1,
      resultBytes,
      byClient: new Map(pairs(parts).map(([client, count]) => [client, Number(count)])),
    };
  }

  async expire(ms: number): Promise<void> {
    await this.#run(EXPIRE, ms);
  }

  async remove(): Promise<void> {
    await this.#run(REMOVE);
  }

  /** Stores results for a later attempt that continues this one. */
  async keep(results: readonly KeptResult[]): Promise<void> {
    if (results.length === 0) return;
    await this.#run(KEEP, ...results.flatMap(({ id, failed, json }) => [id, failed ? '1' : '0', json]));
  }

  /** Iterates over all stored results, with occasional duplicates; of those longer than `maxBytes` only the id. */
  async *results(maxBytes: number): AsyncGenerator<{ readonly id: string; readonly json: string }> {
    let cursor = '0';
    do {
      const [next, ...parts] = (await this.#run(RESULTS_FROM, cursor, RESULTS_AT_ONCE, maxBytes)) as [string, ...string[]];
      for (const [id, json] of pairs(parts)) yield { id, json };
      cursor = next;
    } while (cursor !== '0');
  }

  async #run({ sha1, lua }: Script, ...args: (string | number)[]): Promise<unknown> {
    const { redis } = this.#options;
    try {
      return await redis.evalsha(sha1, this.#keys.length, ...this.#keys, ...args);
    } catch (thrown) {
      // The script is unknown to this Redis, or was lost in a restart.
      if (!(thrown instanceof Error) || !thrown.message.startsWith('NOSCRIPT')) throw thrown;
      return redis.eval(lua, this.#keys.length, ...this.#keys, ...args);
    }
  }
}

function pairs(flat: readonly string[]): [string, string][] {
  const out: [string, string][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) out.push([flat[at] ?? '', flat[at + 1] ?? '']);
  return out;
}
