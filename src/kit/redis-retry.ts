import { backoffMs, jittered } from './backoff.js';

/**
 * Replies of a Redis that is not a primary, or not yet: after a failover the connection to the old primary stays open and would get
 * these forever. The command was not executed.
 */
const NOT_PRIMARY = /^-?(READONLY|LOADING|UNBLOCKED|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN)\b/;
/** Refusals further apart than this belong to different failovers. */
const CALM_MS = 30_000;

export interface RedisRetryOptions {
  /** Delay before the next connection: doubles from `firstMs` to `capMs`, varied by up to a quarter. */
  readonly firstMs: number;
  readonly capMs: number;
  /** Gives up after this long without a primary. Default: never. */
  readonly patienceMs?: number;
  /** Whether a command refused for lack of a primary is sent again on the next connection, or rejected. */
  readonly resend: boolean;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  /** Returns numbers in [0, 1). Default `Math.random`. */
  readonly random?: () => number;
}

/** Makes an ioredis client survive restarts and failovers: merge `options` into its options, and call `ready` on its `ready` event. */
export function redisRetry({
  firstMs,
  capMs,
  patienceMs = Number.POSITIVE_INFINITY,
  resend,
  now = () => performance.now(),
  random = Math.random,
}: RedisRetryOptions) {
  let refusals = 0;
  let refusedAt = Number.NEGATIVE_INFINITY;
  let downSince: number | undefined;
  const isCalm = () => now() - refusedAt > CALM_MS;
  const isOver = () => {
    downSince ??= now();
    return now() - downSince > patienceMs;
  };
  return {
    options: {
      reconnectOnError: (error: Error): false | 1 | 2 => {
        if (!NOT_PRIMARY.test(error.message)) return false;
        refusals = isCalm() ? 1 : refusals + 1;
        refusedAt = now();
        if (isOver()) return false;
        return resend ? 2 : 1;
      },
      retryStrategy: (times: number): number | null => {
        if (isOver()) return null;
        const attempts = isCalm() ? times : Math.max(times, refusals);
        return jittered(backoffMs(attempts, { firstMs, capMs }), random);
      },
    },
    /** A new connection alone does not end the outage: the server may refuse every command. */
    ready: () => {
      if (isCalm()) downSince = undefined;
    },
  };
}

/**
 * Guards a subscriber connection. ioredis 5 resubscribes by itself after a reconnect and leaves that promise unhandled: if the
 * connection closes at that moment, the rejection would crash the process. Callers of `subscribe` still see the rejection.
 */
export function forListening<T extends { subscribe(...channels: never): Promise<unknown> }>(redis: T): T {
  const subscribe = redis.subscribe.bind(redis) as (...channels: readonly unknown[]) => Promise<unknown>;
  redis.subscribe = ((...channels: readonly unknown[]) => {
    const subscribed = subscribe(...channels);
    subscribed.catch(() => {});
    return subscribed;
  }) as T['subscribe'];
  return redis;
}
