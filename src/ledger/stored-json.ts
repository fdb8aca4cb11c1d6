import { PeerworkError } from '../errors.js';
import { MAX_MESSAGE_BYTES } from '../job/limits.js';
import { type JsonLimits, parseJson } from '../kit/json.js';

const STORED: JsonLimits = { maxBytes: MAX_MESSAGE_BYTES };

/**
 * Parses the JSON of a column. It was validated when stored, but earlier versions accepted more, and others may write to the database:
 * throws `ledger-damaged` for anything that would crash this process further on.
 */
export function storedJson<T>(text: string): T {
  try {
    return parseJson(text, STORED) as T;
  } catch (thrown) {
    throw new PeerworkError('ledger-damaged', thrown instanceof Error ? thrown.message : String(thrown));
  }
}
