import { PeerworkError } from '../../errors.js';
import type { JsonRefused } from '../../kit/json.js';

/** Why JSON of a request is refused: 413 for what is too much of it, else 400. */
export function refusalOf({ reason, message }: JsonRefused, what: string): PeerworkError {
  if (reason === 'too-large' || reason === 'too-many') return new PeerworkError('body-too-large', message);
  return new PeerworkError('request-invalid', reason === 'malformed' ? `${what} is no JSON: ${message}` : `${what}: ${message}`);
}
