import { type Clock, pause } from '../../clock.js';
import { asPeerworkError, PeerworkError } from '../../errors.js';
import { carryMs } from '../../kit/carry-time.js';
import { Deadline } from '../../kit/deadline.js';
import { JsonRefused, parseJson } from '../../kit/json.js';

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
  let waitMs = FIRST_WAIT_MS;
  for (let left = call.tries - 1; ; left -= 1) {
    const result = await attempt(clock, call);
    if (!(result instanceof Failure)) return result;
    if (!result.passing || left <= 0 || call.signal?.aborted) throw result.error;
    await pause(clock, waitMs, call.signal);
    if (call.signal?.aborted) throw result.error;
    waitMs = Math.min(waitMs * 3, MAX_WAIT_MS);
  }
}

class Failure {
  readonly error: PeerworkError;
  /** May be over at the next try. */
  readonly passing: boolean;

  constructor(error: PeerworkError, passing: boolean) {
    this.error = error;
    this.passing = passing;
  }
}

async function attempt(clock: Clock, call: ApiCall): Promise<ApiAnswer | Failure> {
  const where = `${call.method} ${new URL(call.url).pathname}`;
  const text = call.body === undefined ? undefined : JSON.stringify(call.body);
  const withinMs = call.timeoutMs + carryMs(text?.length ?? 0);
  const ending = new Deadline({ signals: [call.signal] });
  const late = clock.after(withinMs, () => ending.abort(new Error(`no answer within ${withinMs} ms`)));
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
    const body = parsed(await readText(response));
    if (response.ok || TELLING.has(status)) return { status, body };
    if (status === 401 || status === 403) return new Failure(new PeerworkError('dory-key-refused', `${where} answered ${status}`), false);
    return new Failure(
      new PeerworkError('dory-api-failed', `${where} answered ${status}`),
      status >= 500 || status === 408 || status === 429,
    );
  } catch (thrown) {
    if (thrown instanceof PeerworkError) return new Failure(thrown, false);
    const cause = signal.aborted ? signal.reason : thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
    const { message } = asPeerworkError(cause);
    return new Failure(new PeerworkError('dory-api-unreachable', `${where}: ${cause instanceof Error ? cause.message : message}`), true);
  } finally {
    late.cancel();
    ending.end();
  }
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new PeerworkError('dory-api-failed', `more than ${MAX_BODY_BYTES} bytes in one answer`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function parsed(json: string): unknown {
  try {
    return parseJson(json, { maxBytes: MAX_BODY_BYTES, maxItems: MAX_ITEMS, exact: true });
  } catch (thrown) {
    if (thrown instanceof JsonRefused && thrown.reason === 'inexact') throw new PeerworkError('dory-api-failed', thrown.message);
    return undefined;
  }
}
