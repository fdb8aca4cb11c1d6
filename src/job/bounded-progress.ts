import { formatJson, MAX_VALUE_DEPTH } from '../kit/json.js';
import type { Progress } from './job.js';
import { MAX_LOG_LINE_CHARS, MAX_PROGRESS_BYTES } from './limits.js';

/** Overhead per report in a message: its number and the property names. */
const REPORT_BYTES = 40;
const PROGRESS_LIMITS = { maxBytes: MAX_PROGRESS_BYTES, maxDepth: MAX_VALUE_DEPTH };

/**
 * Enforces the limits of a report, at every boundary: a longer line is truncated; a larger value is dropped (undefined), because half a
 * JSON value is invalid.
 */
export function boundedProgress(progress: Progress): Progress | undefined {
  if (progress.kind === 'log')
    return progress.line.length <= MAX_LOG_LINE_CHARS ? progress : { ...progress, line: progress.line.slice(0, MAX_LOG_LINE_CHARS) };
  if (typeof progress.value === 'number') return progress;
  try {
    formatJson(progress.value, PROGRESS_LIMITS);
    return progress;
  } catch {
    return undefined;
  }
}

/** Returns the size of a report as JSON, in bytes. */
export function bytesOfProgress(progress: Progress): number {
  return Buffer.byteLength(JSON.stringify(progress)) + REPORT_BYTES;
}

/** Returns the approximate size of a report as JSON, in characters. */
export function sizeOfProgress(progress: Progress): number {
  if (progress.kind === 'log') return progress.line.length + 32;
  return typeof progress.value === 'number' ? 32 : JSON.stringify(progress.value).length + 32;
}
