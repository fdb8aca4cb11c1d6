import { PeerworkError } from '../errors.js';
import { MAX_MESSAGE_BYTES } from '../job/limits.js';
import { type JsonLimits, parseJson } from '../kit/json.js';

const STORED: JsonLimits = { maxBytes: MAX_MESSAGE_BYTES };

/**
 * JSON of a column. All of it was let in once, but earlier versions let more in, and others may write to the database: rejects with
 * `ledger-damaged` what would end this process further on.
 */
export function storedJson<T>(text: string): T {
  try {
    return parseJson(text, STORED) as T;
  } catch (thrown) {
    throw new PeerworkError('ledger-damaged', thrown instanceof Error ? thrown.message : String(thrown));
  }
}
