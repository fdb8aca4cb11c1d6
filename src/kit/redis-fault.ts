import { type ErrorCode, type MakeError, makeError, PeerworkError } from '../errors.js';
import { isTlsError, systemCode } from './system-error.js';

/** Refused logins or permissions: retrying does not help. */
const DENIED = /^-?(NOAUTH|WRONGPASS|NOPERM)\b|invalid (username-)?password|without any password configured/i;
/** What Node reports when the peer hangs up during the TLS handshake. */
const NO_TLS = /before secure TLS connection/;

/** Whether a Redis rejected our login or lacks us a permission. */
export function isRedisDenial(error: unknown): boolean {
  return error instanceof Error && DENIED.test(error.message);
}

/**
 * Maps an error of Redis to a code for its cause: `redis-denied`, `redis-tls`, `redis-database`, `host-unknown`, or `fallback` for
 * an unreachable server and everything else. `place` is the address without the password.
 */
export function redisError(thrown: unknown, fallback: ErrorCode | MakeError, place = ''): PeerworkError {
  if (thrown instanceof PeerworkError) return thrown;
  // The `AggregateError` for a name with several addresses has no message of its own.
  const error: unknown = thrown instanceof AggregateError && thrown.errors.length > 0 ? thrown.errors[0] : thrown;
  const message = error instanceof Error ? error.message || error.name : String(error);
  // Sentinel errors contain the current delay, which would make every message look new.
  const why = message.replace(/ Retrying from scratch after \d+ms\./, '');
  return makeError(causeOf(error, why) ?? fallback, place === '' ? why : `${place}: ${why}`, { cause: thrown });
}

function causeOf(error: unknown, message: string): ErrorCode | undefined {
  if (isRedisDenial(error)) return 'redis-denied';
  if (isTlsError(error) || NO_TLS.test(message)) return 'redis-tls';
  if (/DB index is out of range|invalid DB index/i.test(message)) return 'redis-database';
  return /^(ENOTFOUND|EAI_AGAIN)$/.test(systemCode(error) ?? '') ? 'host-unknown' : undefined;
}
