import { type ErrorCode, type MakeError, makeError, PeerworkError } from '../errors.js';
import { isTlsError, systemCode } from './system-error.js';

/** Of a login or of rights: no further attempt changes it. */
const DENIED = /^-?(NOAUTH|WRONGPASS|NOPERM)\b|invalid (username-)?password|without any password configured/i;
/** What Node says when the other side hangs up at the first words of TLS. */
const NO_TLS = /before secure TLS connection/;

/** Whether a Redis refused who we are, or what we may. */
export function isRedisDenial(error: unknown): boolean {
  return error instanceof Error && DENIED.test(error.message);
}

/**
 * Why a Redis cannot be used, each cause under its own code: `redis-denied`, `redis-tls`, `redis-database`, `host-unknown`; `fallback` is the code of
 * one that does not answer, and of everything else. `place` is its address, without the password.
 */
export function redisError(thrown: unknown, fallback: ErrorCode | MakeError, place = ''): PeerworkError {
  if (thrown instanceof PeerworkError) return thrown;
  // `AggregateError` of a name with several addresses says nothing by itself.
  const error: unknown = thrown instanceof AggregateError && thrown.errors.length > 0 ? thrown.errors[0] : thrown;
  const message = error instanceof Error ? error.message || error.name : String(error);
  // Of sentinels: the wait grows, and each sentence would be news.
  const why = message.replace(/ Retrying from scratch after \d+ms\./, '');
  return makeError(causeOf(error, why) ?? fallback, place === '' ? why : `${place}: ${why}`, { cause: thrown });
}

function causeOf(error: unknown, message: string): ErrorCode | undefined {
  if (isRedisDenial(error)) return 'redis-denied';
  if (isTlsError(error) || NO_TLS.test(message)) return 'redis-tls';
  if (/DB index is out of range|invalid DB index/i.test(message)) return 'redis-database';
  return /^(ENOTFOUND|EAI_AGAIN)$/.test(systemCode(error) ?? '') ? 'host-unknown' : undefined;
}
