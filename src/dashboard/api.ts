import { parseJson } from '../kit/json.js';

/** The Master's HTTP API as the dashboard uses it. Addresses are relative, so that it works wherever it is mounted. */

const ANSWER_LIMITS = { maxBytes: 256 * 1024 * 1024 };
const TOKEN_KEY = 'peerwork token';

export class ApiError extends Error {
  readonly status: number;
  readonly todo: string;

  constructor(status: number, message: string, todo: string) {
    super(message);
    this.status = status;
    this.todo = todo;
  }
}

export function setToken(token: string): void {
  if (token === '') sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, token);
}

function headers(): Record<string, string> {
  const token = sessionStorage.getItem(TOKEN_KEY);
  return token === null ? {} : { authorization: `Bearer ${token}` };
}

/** Rejects with an ApiError, which says what to do. */
export async function ask<T>(method: string, path: string, body?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: { ...headers(), ...(body !== undefined && { 'content-type': 'application/json' }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  } catch {
    throw new ApiError(0, 'The Master does not answer', 'Look whether it runs.');
  }
  const text = await response.text();
  const answer = text === '' ? undefined : parseJson(text, ANSWER_LIMITS);
  if (response.ok) return answer as T;
  const { detail = response.statusText, todo = '' } = (answer ?? {}) as { detail?: string; todo?: string };
  throw new ApiError(response.status, detail, todo);
}

export const get = <T>(path: string): Promise<T> => ask<T>('GET', path);

export interface ServerEvent {
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: each kind of event has fields of its own.
  readonly data: any;
}

/** Reads server-sent events until `signal`; fetch, because EventSource sends no token. Resolves when the stream ends. */
export async function readEvents(lastId: string, signal: AbortSignal, take: (event: ServerEvent, id: string) => void): Promise<void> {
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
      const data = field('data');
      if (id !== undefined) take({ name: field('event') ?? '', data: data === undefined ? undefined : parseJson(data, ANSWER_LIMITS) }, id);
    }
  }
}
