import { PeerworkError } from '../../../errors.js';
import { boundedBytes } from '../../../kit/bounded-bytes.js';
import { carryMs, Deadline } from '../../../kit/deadline.js';
import { type JsonRefused, parseJson } from '../../../kit/json.js';
import { outlineOf } from '../../../kit/json-outline.js';
import { conceal, withoutPassword } from '../../../log.js';
import { CrewError } from '../errors.js';
import { type CrewTask, isFields, readAcquired } from './task.js';

/** A release sleeps up to a second in the real server, and databases are slow now and then. */
const ANSWER_MS = 30_000;
const NEWEST_TASKS = 200;
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
/** The answer, its task, the list of errors, an error. */
const OUTLINE_DEPTH = 4;

export interface CrewPlace {
  /** Where the routes of the server begin, such as `http://localhost:3000/` or `https://example.org/crew`. */
  readonly url: string;
  /** Sent as `Authorization` with each request, such as `Bearer …`. */
  readonly authorization?: string;
}

/** What a server answered, whatever it was. */
export interface CrewAnswer {
  readonly status: number;
  /** undefined: it was no JSON. */
  readonly body: unknown;
  /** Why it is not taken as a whole: `body` is its outline then. */
  readonly fault?: string | undefined;
  /** When it may be asked again, if it said so. */
  readonly retryAfterMs: number | undefined;
}

/** The routes of a crew server that a worker uses. Each rejects with `crew-unreachable`, or with `crew-refused` for what is no answer. */
export class CrewClient {
  readonly #base: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #now: () => number;

  /** Throws `option-invalid`. */
  constructor({ url, authorization }: CrewPlace, now: () => number) {
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
      throw new PeerworkError('option-invalid', `the address of the crew server ${JSON.stringify(withoutPassword(url))} is no http:// URL`);
    const { origin, pathname } = new URL(url);
    const allowed = authorization ?? loginOf(new URL(url));
    this.#base = `${origin}${pathname.replace(/\/*$/, '/')}api/v1/`;
    this.#headers = { accept: 'application/json, text/plain, */*', ...(allowed !== undefined && { authorization: allowed }) };
    this.#now = now;
  }

  /** undefined: there is no work. */
  async acquire(channel: string, workerId: string): Promise<CrewTask | undefined> {
    const answer = await this.#ask('POST', `channel/${encodeURIComponent(channel)}/acquire`, { workerId });
    // A page or nothing at all is no work to crew's own workers; here its owner is told that this is hardly a crew server.
    if (answer.status < 200 || answer.status > 299 || answer.body === undefined) throw new CrewRefusal(answer, this.#base);
    const task = readAcquired(answer.body);
    return task === undefined || answer.fault === undefined ? task : { ...task, input: null, parents: [], fault: answer.fault };
  }

  /** Of the newest tasks of a channel those that are assigned to this worker. */
  async assigned(channel: string, workerId: string): Promise<CrewTask[]> {
    const answer = await this.#ask('GET', `channel/${encodeURIComponent(channel)}/tasks?limit=${NEWEST_TASKS}`);
    // One that does not tell (it lets workers not read, say) is not asked again.
    if (!Array.isArray(answer.body)) return [];
    const tasks = answer.body.filter((task: unknown) => isFields(task) && task['assignedTo'] === workerId && task['isComplete'] !== true);
    return tasks.flatMap((task: unknown) => readAcquired({ task }) ?? []);
  }

  release(id: string, body: object): Promise<CrewAnswer> {
    return this.#ask('POST', `task/${encodeURIComponent(id)}/release`, body);
  }

  reset(id: string, remainingAttempts: number): Promise<CrewAnswer> {
    return this.#ask('POST', `task/${encodeURIComponent(id)}/reset`, { remainingAttempts });
  }

  /** Whether the task is still this worker's; a server that does not tell is believed to think so. */
  async isMine(id: string, workerId: string): Promise<boolean> {
    const { status, body } = await this.#ask('GET', `task/${encodeURIComponent(id)}`);
    if (status === 404) return !(isFields(body) && typeof body['message'] === 'string');
    if (status !== 200 || !isFields(body) || body['_id'] !== id) return true;
    return body['isComplete'] !== true && body['assignedTo'] === workerId;
  }

  async #ask(method: 'GET' | 'POST', path: string, body?: object): Promise<CrewAnswer> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const deadline = new Deadline({ withinMs: ANSWER_MS + carryMs(text?.length ?? 0) });
    try {
      const response = await fetch(`${this.#base}${path}`, {
        method,
        headers: { ...this.#headers, ...(body !== undefined && { 'content-type': 'application/json' }) },
        ...(text !== undefined && { body: text }),
        // The authorization is for this server alone.
        redirect: 'manual',
        signal: deadline.signal,
      });
      return {
        status: response.status,
        ...parsed((await boundedBytes(response.body, MAX_ANSWER_BYTES)).toString('utf8')),
        retryAfterMs: this.#retryAfter(response.headers.get('retry-after')),
      };
    } catch (error) {
      throw new CrewError('crew-unreachable', `${this.#base}: ${reasonOf(error)}`, { cause: error });
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

/** The name and password of an address, as a header; throws `option-invalid`. */
function loginOf({ username, password }: URL): string | undefined {
  if (username === '' && password === '') return undefined;
  try {
    conceal(decodeURIComponent(password));
    return `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')}`;
  } catch {
    throw new PeerworkError('option-invalid', 'name or password in the address of the crew server have a % that must be written %25');
  }
}

export class CrewRefusal extends CrewError {
  readonly retryAfterMs: number | undefined;

  constructor({ status, body, retryAfterMs }: CrewAnswer, place: string) {
    super('crew-refused', `${place} responded ${status}${body === undefined ? ' without JSON' : messageOf(body)}`);
    this.retryAfterMs = retryAfterMs;
  }
}

/** The message of an answer, for people. */
function messageOf(body: unknown): string {
  const message = isFields(body) ? body['message'] : undefined;
  return typeof message === 'string' ? `: ${message.slice(0, 200).replace(/\p{Cc}/gu, ' ')}` : '';
}

function parsed(text: string): Pick<CrewAnswer, 'body' | 'fault'> {
  try {
    return { body: parseJson(text, { maxBytes: MAX_ANSWER_BYTES, exact: true }), fault: undefined };
  } catch (thrown) {
    const { reason, message } = thrown as JsonRefused;
    if (reason === 'malformed') return { body: undefined, fault: undefined };
    return { body: outlineOf(text, { maxBytes: MAX_ANSWER_BYTES, maxDepth: OUTLINE_DEPTH }), fault: message };
  }
}

/** fetch says only that it failed; its cause says why. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return String(cause);
  return cause.message || ('code' in cause ? String(cause.code) : cause.name);
}
