import { createHmac, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { parseJson } from '../../../kit/json.js';

/** Tolerated clock skew between server and worker, in seconds. */
const SKEW_S = 5;

const CLAIMS_LIMITS = { maxBytes: 64 * 1024, maxDepth: 16 };

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Returns the token with which a worker connects: a JWT signed with HS256, without expiry. The key is the text of the secret itself. */
export function makeWorkerToken(secret: string, workerId: string, nowMs: number): string {
  const claims = { worker_id: workerId, iat: Math.floor(nowMs / 1_000), iss: 'urn:openfn:worker' };
  const signed = `${encode({ alg: 'HS256' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** Parses a server's public key: a PEM or base64 of one, in PKCS#1 or SPKI. Returns undefined if it is not an RSA key. */
export function readPublicKey(text: string): KeyObject | undefined {
  const pem = text.includes('-----BEGIN') ? text : Buffer.from(text, 'base64').toString('utf8');
  try {
    const key = createPublicKey(pem);
    return key.asymmetricKeyType === 'rsa' ? key : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Returns why a run's token is invalid; undefined if it is valid. It must be signed with RS256 by this key, issued by Lightning, and within
 * its validity period.
 */
export function runTokenFault(token: string, key: KeyObject, nowMs: number): string | undefined {
  const [header = '', claims = '', signature = '', ...more] = token.split('.');
  if (more.length > 0) return 'it is no token';
  const read = decode(header);
  const { iss, nbf, exp } = decode(claims) ?? {};
  if (read?.['alg'] !== 'RS256') return 'it is not signed with RS256';
  if (!verify('sha256', Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, 'base64url'))) return 'its signature is wrong';
  if (iss !== 'Lightning') return 'it was not issued by Lightning';
  const now = nowMs / 1_000;
  if (nbf !== undefined && (typeof nbf !== 'number' || nbf > now + SKEW_S)) return 'it is not valid yet';
  if (exp !== undefined && (typeof exp !== 'number' || exp < now - SKEW_S)) return 'it is not valid any more';
  return undefined;
}

function decode(part: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value = parseJson(Buffer.from(part, 'base64url'), CLAIMS_LIMITS);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
