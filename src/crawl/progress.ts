import { type JsonLimits, parseJson } from '../kit/json.js';

/** Prefix of the lines in a crawler's output that report its progress, in JSON. */
export const PROGRESS_MARK = '@peerwork ';

const PROGRESS_LIMITS: JsonLimits = { maxBytes: 1_024, maxDepth: 1 };

export interface CrawlProgress {
  /** Of this container: pages handled, which includes those given up, and pages given up. */
  readonly handled: number;
  readonly failed: number;
  /** Of the whole crawl: pages known so far, and pages not handled yet. */
  readonly total: number;
  readonly pending: number;
  /** Links were left out because the crawl has reached its limit of pages. */
  readonly full: boolean;
  /** The API has acknowledged the final status of the run. */
  readonly told: boolean;
}

/** Parses a line of progress; returns undefined for any other line. */
export function readProgress(line: string): CrawlProgress | undefined {
  if (!line.startsWith(PROGRESS_MARK)) return undefined;
  try {
    const message = parseJson(line.slice(PROGRESS_MARK.length), PROGRESS_LIMITS) as Partial<Record<keyof CrawlProgress, unknown>>;
    const { handled, failed, total, pending, full } = message;
    const counts = { handled: Number(handled), failed: Number(failed), total: Number(total), pending: Number(pending) };
    if (![handled, failed, total, pending].every((count) => Number.isSafeInteger(count) && Number(count) >= 0)) return undefined;
    return { ...counts, full: full === true, told: message.told === true };
  } catch {
    return undefined;
  }
}
