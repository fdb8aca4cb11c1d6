import type { Clock } from '../../../clock.js';
import { asPeerworkError, PeerworkError } from '../../../errors.js';
import { Backoff, retry } from '../../../kit/backoff.js';
import { boundedBytes, TooManyBytes } from '../../../kit/bounded-bytes.js';
import { carryMs, Deadline } from '../../../kit/deadline.js';
import { JsonRefused, parseJson } from '../../../kit/json.js';
import { DoryError } from '../errors.js';

/** Of one answer. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;
const MAX_ITEMS = 1_000_000;
const FIRST_WAIT_MS = 300;
const MAX_WAIT_MS = 5_000;

export interface ApiCall {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** For the answer; what `body` may take on its way is added. */
  readonly timeoutMs: number;
  /** How often it is tried while the API is away or answers 5xx, 408 or 429; with back-off in between. */
  readonly tries: number;
  readonly signal?: AbortSignal | undefined;
}

export interface ApiAnswer {
  readonly status: number;
  /** Parsed JSON; undefined if it is none. */
  readonly body: unknown;
}

/** Answers that say something about the thing asked for: for the caller to decide. */
const TELLING = new Set([404, 409, 410]);

/**
 * One call of the dory-api. Resolves with 2xx, 404, 409 and 410; rejects with `dory-key-refused` (401, 403: never tried again),
 * `dory-api-failed` or `dory-api-unreachable`. A redirect is not followed: the key would go wherever it leads.
 */
export async function callApi(clock: Clock, call: ApiCall): Promise<ApiAnswer> {
  const { tries, signal } = call;
  const backoff = new Backoff({ firstMs: FIRST_WAIT_MS, capMs: MAX_WAIT_MS, factor: 3 });
  const isPassing = (thrown: unknown) => thrown instanceof PassingFault;
  return retry(() => attempt(clock, call), { clock, backoff, tries, signal, isPassing }).catch((thrown: unknown) => {
    throw thrown instanceof PassingFault ? thrown.error : thrown;
  });
}

/** May be over at the next try. */
class PassingFault extends Error {
  readonly error: PeerworkError;

  constructor(error: PeerworkError) {
    super(error.message);
    this.error = error;
  }
}

async function attempt(clock: Clock, call: ApiCall): Promise<ApiAnswer> {
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
    if (response.ok || TELLING.has(status)) return { status, body };
    if (status === 401 || status === 403) throw new DoryError('dory-key-refused', `${where} responded ${status}`);
    const error = new DoryError('dory-api-failed', `${where} responded ${status}`);
    throw status >= 500 || status === 408 || status === 429 ? new PassingFault(error) : error;
  } catch (thrown) {
    if (thrown instanceof PeerworkError || thrown instanceof PassingFault) throw thrown;
    if (thrown instanceof TooManyBytes) throw new DoryError('dory-api-failed', `${thrown.message} in one response`);
    const cause = signal.aborted ? signal.reason : thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
    const { message } = asPeerworkError(cause);
    throw new PassingFault(new DoryError('dory-api-unreachable', `${where}: ${cause instanceof Error ? cause.message : message}`));
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
