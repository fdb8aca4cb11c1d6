import { formatJson, MAX_VALUE_DEPTH } from '../kit/json.js';
import type { Progress } from './job.js';
import { MAX_LOG_LINE_CHARS, MAX_PROGRESS_BYTES } from './limits.js';

/** Of the number and the names around it. */
const REPORT_BYTES = 40;
const PROGRESS_LIMITS = { maxBytes: MAX_PROGRESS_BYTES, maxDepth: MAX_VALUE_DEPTH };

/**
 * What a run tells, held to its limits wherever it crosses a border: a longer line is cut, a larger value is dropped (undefined), since half of a
 * JSON value is none.
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

/** Bytes that it takes as JSON. */
export function bytesOfProgress(progress: Progress): number {
  return Buffer.byteLength(JSON.stringify(progress)) + REPORT_BYTES;
}

/** Characters that it takes as JSON, about. */
export function sizeOfProgress(progress: Progress): number {
  if (progress.kind === 'log') return progress.line.length + 32;
  return typeof progress.value === 'number' ? 32 : JSON.stringify(progress.value).length + 32;
}
