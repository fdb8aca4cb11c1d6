import { PeerworkError } from '../../errors.js';
import type { JsonRefused } from '../../kit/json.js';

/** Maps a refusal of request JSON to an error: 413 if it is too large, otherwise 400. */
export function refusalOf({ reason, message }: JsonRefused, what: string): PeerworkError {
  if (reason === 'too-large' || reason === 'too-many') return new PeerworkError('body-too-large', message);
  return new PeerworkError('request-invalid', reason === 'malformed' ? `${what} is no JSON: ${message}` : `${what}: ${message}`);
}
