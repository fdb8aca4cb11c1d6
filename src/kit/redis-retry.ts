/**
 * What a Redis says while it is no primary, or not yet: after a failover the connection to the old one stays open, and would say so for ever. The
 * command was not executed.
 */
const NOT_PRIMARY = /^-?(READONLY|LOADING|UNBLOCKED|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN)\b/;
/** Of a login or of rights: no further attempt changes it. */
const DENIED = /^-?(NOAUTH|WRONGPASS|NOPERM)\b|invalid (username-)?password|without any password configured/i;
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
}

/** Whether a Redis refused who we are, or what we may. */
export function isRedisDenial(error: unknown): boolean {
  return error instanceof Error && DENIED.test(error.message);
}

/** How an ioredis client comes through a restart and a failover: `options` goes into its options, `ready` is called at its event of that name. */
export function redisRetry({
  firstMs,
  capMs,
  patienceMs = Number.POSITIVE_INFINITY,
  resend,
  now = () => performance.now(),
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
        return Math.min(firstMs * 2 ** Math.min(attempts - 1, 16), capMs) * (0.75 + Math.random() / 2);
      },
    },
    /** A connection alone is no end of the trouble: it may be to a server that refuses. */
    ready: () => {
      if (isCalm()) downSince = undefined;
    },
  };
}
