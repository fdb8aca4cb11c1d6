import { PeerworkError } from '../../../errors.js';
import { boundedBytes } from '../../../kit/bounded-bytes.js';
import { carryMs, Deadline } from '../../../kit/deadline.js';
import { basicLogin, fetchFault } from '../../../kit/fetch.js';
import { type JsonRefused, parseJson } from '../../../kit/json.js';
import { outlineOf } from '../../../kit/json-outline.js';
import { conceal, withoutPassword } from '../../../log.js';
import { CrewError } from '../errors.js';
import { isFields } from '../fields.js';
import type { CrewPlace } from './options.js';
import { type CrewTask, readAcquired } from './task.js';

/**
 * Timeout of a request, plus the transfer time of its body: a release sleeps up to a second in the real server, and databases are slow now
 * and then.
 */
const REPLY_MS = 30_000;
const NEWEST_TASKS = 200;
const MAX_REPLY_BYTES = 32 * 1024 * 1024;
/** Depth needed to reach the errors: the response, its task, the list of errors, one error. */
const OUTLINE_DEPTH = 4;

/** Any response of the server. */
export interface CrewAnswer {
  readonly status: number;
  /** undefined if the response was not JSON. */
  readonly body: unknown;
  /** Why the body was not accepted as a whole; `body` is its outline then. */
  readonly fault?: string | undefined;
  /** Delay that the server requested with `Retry-After`. */
  readonly retryAfterMs: number | undefined;
}

/**
 * Client for the routes of a crew server that a worker uses. Methods reject with `crew-unreachable`, or with `crew-refused` for an
 * unexpected response.
 */
export class CrewClient {
  readonly #base: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #now: () => number;

  /** Throws `option-invalid`. */
  constructor({ url, authorization }: CrewPlace, now: () => number) {
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
      throw new PeerworkError('option-invalid', `the address of the crew server ${JSON.stringify(withoutPassword(url))} is no http:// URL`);
    const { origin, pathname } = new URL(url);
    const header = authorization ?? loginOf(new URL(url));
    this.#base = `${origin}${pathname.replace(/\/*$/, '/')}api/v1/`;
    this.#headers = { accept: 'application/json, text/plain, */*', ...(header !== undefined && { authorization: header }) };
    this.#now = now;
  }

  /** Resolves with undefined if there is no work. */
  async acquire(channel: string, workerId: string): Promise<CrewTask | undefined> {
    const reply = await this.#request('POST', `channel/${encodeURIComponent(channel)}/acquire`, { workerId });
    // crew's own workers treat an HTML page or an empty response as no work; here the owner is warned that this is probably not a crew
    // server.
    if (reply.status < 200 || reply.status > 299 || reply.body === undefined) throw new CrewRefusal(reply, this.#base);
    const task = readAcquired(reply.body);
    return task === undefined || reply.fault === undefined ? task : { ...task, input: null, parents: [], fault: reply.fault };
  }

  /** Returns those of the channel's newest tasks that are assigned to this worker. */
  async assigned(channel: string, workerId: string): Promise<CrewTask[]> {
    const reply = await this.#request('GET', `channel/${encodeURIComponent(channel)}/tasks?limit=${NEWEST_TASKS}`);
    // A server that does not list tasks, such as one that denies workers read access, is not queried again.
    if (!Array.isArray(reply.body)) return [];
    const tasks = reply.body.filter((task: unknown) => isFields(task) && task['assignedTo'] === workerId && task['isComplete'] !== true);
    return tasks.flatMap((task: unknown) => readAcquired({ task }) ?? []);
  }

  release(id: string, body: object): Promise<CrewAnswer> {
    return this.#request('POST', `task/${encodeURIComponent(id)}/release`, body);
  }

  reset(id: string, remainingAttempts: number): Promise<CrewAnswer> {
    return this.#request('POST', `task/${encodeURIComponent(id)}/reset`, { remainingAttempts });
  }

  /** Whether the task is still assigned to this worker; true if the server does not reveal it. */
  async isMine(id: string, workerId: string): Promise<boolean> {
    const { status, body } = await this.#request('GET', `task/${encodeURIComponent(id)}`);
    if (status === 404) return !(isFields(body) && typeof body['message'] === 'string');
    if (status !== 200 || !isFields(body) || body['_id'] !== id) return true;
    return body['isComplete'] !== true && body['assignedTo'] === workerId;
  }

  async #request(method: 'GET' | 'POST', path: string, body?: object): Promise<CrewAnswer> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const deadline = new Deadline({ withinMs: REPLY_MS + carryMs(text?.length ?? 0) });
    try {
      const response = await fetch(`${this.#base}${path}`, {
        method,
        headers: { ...this.#headers, ...(body !== undefined && { 'content-type': 'application/json' }) },
        ...(text !== undefined && { body: text }),
        // The authorization must not follow a redirect to another server.
        redirect: 'manual',
        signal: deadline.signal,
      });
      return {
        status: response.status,
        ...parsed((await boundedBytes(response.body, MAX_REPLY_BYTES)).toString('utf8')),
        retryAfterMs: this.#retryAfter(response.headers.get('retry-after')),
      };
    } catch (error) {
      throw new CrewError('crew-unreachable', `${this.#base}: ${fetchFault(error)}`, { cause: error });
    } finally {
      deadline.end();
    }
  }

  #retryAfter(header: string | null): number | undefined {
    if (header === null) return undefined;
    const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - this.#now();
    return Number.isFinite(ms) && ms > 0 ? ms : undefined;
  }
}

/** Converts name and password of a URL into a header; throws `option-invalid`. */
function loginOf(url: URL): string | undefined {
  try {
    conceal(decodeURIComponent(url.password));
    return basicLogin(url);
  } catch {
    throw new PeerworkError('option-invalid', 'name or password in the address of the crew server have a % that must be written %25');
  }
}

/** An unexpected response of the server, with the delay it requested. */
export class CrewRefusal extends CrewError {
  readonly retryAfterMs: number | undefined;

  constructor({ status, body, retryAfterMs }: CrewAnswer, place: string) {
    super('crew-refused', `${place} responded ${status}${body === undefined ? ' without JSON' : messageOf(body)}`);
    this.retryAfterMs = retryAfterMs;
  }
}

/** The message of a response, shortened and without control characters for display. */
function messageOf(body: unknown): string {
  const message = isFields(body) ? body['message'] : undefined;
  return typeof message === 'string' ? `: ${message.slice(0, 200).replace(/\p{Cc}/gu, ' ')}` : '';
}

function parsed(text: string): Pick<CrewAnswer, 'body' | 'fault'> {
  try {
    return { body: parseJson(text, { maxBytes: MAX_REPLY_BYTES, exact: true }), fault: undefined };
  } catch (thrown) {
    const { reason, message } = thrown as JsonRefused;
    if (reason === 'malformed') return { body: undefined, fault: undefined };
    return { body: outlineOf(text, { maxBytes: MAX_REPLY_BYTES, maxDepth: OUTLINE_DEPTH }), fault: message };
  }
}
