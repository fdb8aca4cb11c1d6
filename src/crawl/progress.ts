import { type JsonLimits, parseJson } from '../kit/json.js';

/** Begins each line of a crawler's output that tells how far it is, in JSON. */
export const PROGRESS_MARK = '@peerwork ';

const PROGRESS_LIMITS: JsonLimits = { maxBytes: 1_024, maxDepth: 1 };

export interface CrawlProgress {
  /** By this container: pages done and given up together, and those given up. */
  readonly handled: number;
  readonly failed: number;
  /** Of the whole crawl: pages known so far, and those not handled yet. */
  readonly total: number;
  readonly pending: number;
  /** Links were left because the crawl knows as many pages as it may. */
  readonly full: boolean;
  /** The API was told, and has noted, how the run ended. */
  readonly told: boolean;
}

/** What a line of output tells about progress; undefined if it is any other line. */
export function readProgress(line: string): CrawlProgress | undefined {
  if (!line.startsWith(PROGRESS_MARK)) return undefined;
  try {
    const told = parseJson(line.slice(PROGRESS_MARK.length), PROGRESS_LIMITS) as Partial<Record<keyof CrawlProgress, unknown>>;
    const { handled, failed, total, pending, full } = told;
    const counts = { handled: Number(handled), failed: Number(failed), total: Number(total), pending: Number(pending) };
    if (![handled, failed, total, pending].every((count) => Number.isSafeInteger(count) && Number(count) >= 0)) return undefined;
    return { ...counts, full: full === true, told: told.told === true };
  } catch {
    return undefined;
  }
}
