import type { Clock } from '../../../clock.js';
import { asPeerworkError, PeerworkError } from '../../../errors.js';
import { Backoff, retry } from '../../../kit/backoff.js';
import { boundedBytes, TooManyBytes } from '../../../kit/bounded-bytes.js';
import { carryMs, Deadline } from '../../../kit/deadline.js';
import { JsonRefused, parseJson } from '../../../kit/json.js';
import { DoryError } from '../errors.js';

/** Size limit of one response. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;
const MAX_ITEMS = 1_000_000;
const FIRST_WAIT_MS = 300;
const MAX_WAIT_MS = 5_000;

export interface ApiCall {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Time limit of the response in ms; the transfer time of `body` is added. */
  readonly timeoutMs: number;
  /** Number of attempts while the API is unreachable or responds with 5xx, 408 or 429, with back-off in between. */
  readonly tries: number;
  readonly signal?: AbortSignal | undefined;
}

export interface ApiResponse {
  readonly status: number;
  /** Parsed JSON; undefined if the response was not JSON. */
  readonly body: unknown;
}

/** Statuses that describe the resource rather than a failure; the caller decides what they mean. */
const PASSED_ON = new Set([404, 409, 410]);

/**
 * Calls the dory-api once, with retries. Resolves for 2xx, 404, 409 and 410; rejects with `dory-key-refused` (401 and 403, never retried),
 * `dory-api-failed` or `dory-api-unreachable`. Redirects are not followed, because the key would go wherever they lead.
 */
export async function callApi(clock: Clock, call: ApiCall): Promise<ApiResponse> {
  const { tries, signal } = call;
  const backoff = new Backoff({ firstMs: FIRST_WAIT_MS, capMs: MAX_WAIT_MS, factor: 3 });
  const isPassing = (thrown: unknown) => thrown instanceof TransientError;
  return retry(() => attempt(clock, call), { clock, backoff, tries, signal, isPassing }).catch((thrown: unknown) => {
    throw thrown instanceof TransientError ? thrown.error : thrown;
  });
}

/** A failure that a retry may cure. */
class TransientError extends Error {
  readonly error: PeerworkError;

  constructor(error: PeerworkError) {
    super(error.message);
    this.error = error;
  }
}

async function attempt(clock: Clock, call: ApiCall): Promise<ApiResponse> {
  const where = `${call.method} ${new URL(call.url).pathname}`;
  const text = call.body === undefined ? undefined : JSON.stringify(call.body);
  const withinMs = call.timeoutMs + carryMs(text?.length ?? 0);
  const ending = new Deadline({ signals: [call.signal] });
  const late = clock.after(withinMs, () => ending.abort(new Error(`no response within ${withinMs} ms`)));
  const { signal } = ending;
  try {
    const response = await fetch(call.url, {
      method: call.method,
      headers: { accept: 'application/json', ...(call.body !== undefined && { 'content-type': 'application/json' }), ...call.headers },
      ...(text !== undefined && { body: text }),
      redirect: 'manual',
      signal,
    });
    const { status } = response;
    const body = parsed(await boundedBytes(response.body, MAX_BODY_BYTES));
    if (response.ok || PASSED_ON.has(status)) return { status, body };
    if (status === 401 || status === 403) throw new DoryError('dory-key-refused', `${where} responded ${status}`);
    const error = new DoryError('dory-api-failed', `${where} responded ${status}`);
    throw status >= 500 || status === 408 || status === 429 ? new TransientError(error) : error;
  } catch (thrown) {
    if (thrown instanceof PeerworkError || thrown instanceof TransientError) throw thrown;
    if (thrown instanceof TooManyBytes) throw new DoryError('dory-api-failed', `${thrown.message} in one response`);
    const cause = signal.aborted ? signal.reason : thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
    const { message } = asPeerworkError(cause);
    throw new TransientError(new DoryError('dory-api-unreachable', `${where}: ${cause instanceof Error ? cause.message : message}`));
  } finally {
    late.cancel();
    ending.end();
  }
}

function parsed(json: Uint8Array): unknown {
  try {
    return parseJson(json, { maxBytes: MAX_BODY_BYTES, maxItems: MAX_ITEMS, exact: true });
  } catch (thrown) {
    if (thrown instanceof JsonRefused && thrown.reason === 'inexact') throw new DoryError('dory-api-failed', thrown.message);
    return undefined;
  }
}
