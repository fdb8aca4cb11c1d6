import { backoffMs, jittered } from './backoff.js';

/**
 * What a Redis says while it is no primary, or not yet: after a failover the connection to the old one stays open, and would say so for ever. The
 * command was not executed.
 */
const NOT_PRIMARY = /^-?(READONLY|LOADING|UNBLOCKED|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN)\b/;
/** Refusals that are further apart than this belong to different failovers. */
const CALM_MS = 30_000;

export interface RedisRetryOptions {
  /** The wait before the next connection doubles from `firstMs` to `capMs`, a quarter more or less. */
  readonly firstMs: number;
  readonly capMs: number;
  /** After so long without a primary there is no further attempt. Default: for ever. */
  readonly patienceMs?: number;
  /** Whether a command that was refused for want of a primary is sent again on the next connection, or rejected. */
  readonly resend: boolean;
  /** Milliseconds that only grow. */
  readonly now?: () => number;
  /** Numbers from 0 to below 1. Default `Math.random`. */
  readonly random?: () => number;
}

/** How an ioredis client comes through a restart and a failover: `options` goes into its options, `ready` is called at its event of that name. */
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
    /** A connection alone does not end the fault: the server may refuse every command. */
    ready: () => {
      if (isCalm()) downSince = undefined;
    },
  };
}

/**
 * A connection that listens subscribes again by itself when it is back, and ioredis 5 leaves the promise of that to nobody: closed in that moment it
 * would end the process with an unhandled rejection. Whoever calls `subscribe` is still told.
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
