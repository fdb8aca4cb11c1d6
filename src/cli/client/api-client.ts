import type { Command } from 'commander';
import { knownError, PeerworkError } from '../../errors.js';
import { boundedBytes, TooManyBytes } from '../../kit/bounded-bytes.js';
import { type JsonRefused, parseJson } from '../../kit/json.js';
import { linesOf } from '../../kit/lines.js';
import type { CommandName } from '../option-table.js';
import { readOptions } from '../options.js';

/** The HTTP API of a Master, as used by the command line. */
export class ApiClient {
  readonly #url: string;
  readonly #token: string | undefined;

  constructor(url: string, token: string | undefined) {
    this.#url = url;
    this.#token = token;
  }

  static async of(command: Command, name: CommandName): Promise<ApiClient> {
    const { api, apiToken } = await readOptions(command, name);
    return new ApiClient(api ?? '', apiToken);
  }

  get<T>(path: string): Promise<T> {
    return this.request('GET', path);
  }

  /** Sends a request and parses the response. Rejects with the code that the Master responded with. */
  async request<T>(method: string, path: string, body?: unknown): Promise<T> {
    const json = body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
    return this.requestWith(method, path, json);
  }

  /** The same with a body of any kind. */
  async requestWith<T>(method: string, path: string, init: RequestInit): Promise<T> {
    const response = await this.send(method, path, init);
    const bytes = await boundedBytes(this.#body(response, undefined), RESPONSE_LIMITS.maxBytes).catch((thrown: unknown) => {
      throw thrown instanceof TooManyBytes ? notMaster(thrown.message) : thrown;
    });
    return (bytes.length === 0 ? undefined : parsed(bytes)) as T;
  }

  /** The bytes of a response as they come. */
  async *bytes(path: string): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#body(await this.send('GET', path), undefined);
  }

  /** Sends a request. Resolves with a successful response, to be read as a stream. */
  async send(method: string, path: string, init: RequestInit = {}): Promise<Response> {
    let response: Response;
    const headers = {
      ...(init.headers as Record<string, string>),
      ...(this.#token !== undefined && { authorization: `Bearer ${this.#token}` }),
    };
    try {
      response = await fetch(`${this.#url}/${path}`, { ...init, method, headers });
    } catch (thrown) {
      if (init.signal?.aborted) throw thrown;
      const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause.message : String(thrown);
      throw new PeerworkError('api-unreachable', `${this.#url} (${cause})`, { cause: thrown });
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }

  /** Yields the lines of a response, each parsed. */
  async *lines<T>(method: string, path: string, init: RequestInit = {}): AsyncGenerator<T, void, undefined> {
    const response = await this.send(method, path, init);
    const lines = linesOf(this.#body(response, init.signal ?? undefined), RESPONSE_LIMITS.maxBytes, notMaster);
    for await (const line of lines) if (line.trim() !== '') yield parsed(line) as T;
  }

  /** Rejects with `api-unreachable` if the response is cut off. */
  async *#body(response: Response, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* (response.body ?? []) as AsyncIterable<Uint8Array>;
    } catch (thrown) {
      if (signal?.aborted) throw thrown;
      throw new PeerworkError('api-unreachable', `${this.#url} (the response was cut off)`, { cause: thrown });
    }
  }
}

/** A page of jobs holds up to a thousand of them. Anything larger does not come from a Master and is `api-unreachable`. */
const RESPONSE_LIMITS = { maxBytes: 256 * 1024 * 1024 };

function notMaster(why: string): PeerworkError {
  return new PeerworkError('api-unreachable', `the server there is not a Master: ${why}`);
}

function parsed(text: string | Uint8Array): unknown {
  try {
    return parseJson(text, RESPONSE_LIMITS);
  } catch (thrown) {
    throw notMaster((thrown as JsonRefused).message);
  }
}

async function refusal(response: Response): Promise<PeerworkError> {
  const text = await response.text().catch(() => '');
  try {
    const { code, detail = '' } = parsed(text) as { code?: unknown; detail?: string };
    const bare = knownError(code);
    if (bare !== undefined) return knownError(code, particulars(bare.message, detail)) ?? bare;
  } catch {
    // The server there is not peerwork.
  }
  return new PeerworkError('api-unreachable', `HTTP ${response.status} ${response.statusText}`);
}

/** Extracts the specifics from the API's complete sentence, since the error table adds a sentence of its own. */
function particulars(bare: string, detail: string): string {
  return detail === bare ? '' : detail.startsWith(`${bare}: `) ? detail.slice(bare.length + 2) : detail;
}
