import type { Progress } from '../job/job.js';
import { parseJson } from '../kit/json.js';
import type { JobChange } from '../ledger/ledger-change.js';

/** Client of the Master's HTTP API. URLs are relative, so that the dashboard works wherever it is mounted. */

const RESPONSE_LIMITS = { maxBytes: 256 * 1024 * 1024 };
const TOKEN_KEY = 'peerwork token';

/** A refusal of the Master, with its HTTP status (0 if it does not respond) and hint. */
export class ApiError extends Error {
  readonly status: number;
  readonly hint: string;

  constructor(status: number, message: string, hint: string) {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

/** Stores the API token until the tab is closed; an empty one removes it. */
export function setToken(token: string): void {
  if (token === '') sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, token);
}

function headers(): Record<string, string> {
  const token = sessionStorage.getItem(TOKEN_KEY);
  return token === null ? {} : { authorization: `Bearer ${token}` };
}

/** Sends a request and returns its JSON. Rejects with an ApiError that carries the hint. */
export async function request<T>(method: string, path: string, body?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: { ...headers(), ...(body !== undefined && { 'content-type': 'application/json' }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  } catch {
    throw new ApiError(0, 'The Master does not respond', 'Check that it is running.');
  }
  const text = await response.text();
  const answer = text === '' ? undefined : parseJson(text, RESPONSE_LIMITS);
  if (response.ok) return answer as T;
  const { detail = response.statusText, hint = '' } = (answer ?? {}) as { detail?: string; hint?: string };
  throw new ApiError(response.status, detail, hint);
}

export const get = <T>(path: string): Promise<T> => request<T>('GET', path);

/** Events as `src/master/http/event-feed.ts` writes them; `gap` means that earlier events were missed. */
export type ServerEvent =
  | { readonly name: 'job'; readonly data: JobChange }
  | { readonly name: 'jobs'; readonly data: { readonly cut: true } }
  | { readonly name: 'progress'; readonly data: { readonly id: string; readonly worker: string; readonly progress: Progress } }
  | { readonly name: 'connected' | 'disconnected'; readonly data: { readonly worker: { readonly id: string; readonly name: string } } }
  | { readonly name: 'group' | 'workgroup' | 'schedule' | 'worker'; readonly data: { readonly id: string } }
  | { readonly name: 'gap' };

/**
 * Reads server-sent events until the signal aborts; resolves when the stream ends. Uses fetch, because EventSource cannot send a
 * token. An id may arrive without an event: it is the position to resume from.
 */
export async function readEvents(
  lastId: string,
  signal: AbortSignal,
  take: (id: string, event: ServerEvent | undefined) => void,
): Promise<void> {
  const response = await fetch('v1/events', { headers: { ...headers(), ...(lastId !== '' && { 'last-event-id': lastId }) }, signal });
  if (!response.ok || response.body === null) throw new ApiError(response.status, 'events are not to be had', '');
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const field = (name: string) => block.match(new RegExp(`^${name}: (.*)$`, 'm'))?.[1];
      const id = field('id');
      const [name, data] = [field('event'), field('data')];
      if (id === undefined) continue;
      take(id, name === undefined || data === undefined ? undefined : ({ name, data: parseJson(data, RESPONSE_LIMITS) } as ServerEvent));
    }
  }
}
