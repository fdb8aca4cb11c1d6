import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Deadline } from '../kit/deadline.js';
import type { Environment } from './environment.js';
import type { Fetcher } from './fetch.js';

/** What is told of one page; `requestId` tells the same page apart from others, so that what comes twice counts once. */
export interface PageResult {
  readonly requestId: string;
  readonly url: string;
  readonly [field: string]: unknown;
}

/** Where results go. `deliver` resolves once the result is safe there; only then may its page count as handled. */
export interface Delivery {
  deliver(result: PageResult): Promise<void>;
  close(): Promise<void>;
}

/** Nothing of this run can be delivered any more: it must end. */
export class Undeliverable extends Error {}

const BATCH = 100;
const BATCH_BYTES = 1024 * 1024;
const CALL_MS = 30_000;
const PATIENCE_MS = 60_000;
const MAX_BACKOFF_MS = 8_000;

export async function openDelivery(environment: Environment, fetcher: Fetcher): Promise<Delivery> {
  const sinks: ((lines: readonly string[]) => Promise<void>)[] = [];
  let file: FileHandle | undefined;
  const { api, runId, resultsFolder, worker } = environment;
  if (resultsFolder !== undefined) {
    // What it is called comes from outside.
    const opened = await open(join(resultsFolder, `${worker.replace(/[^\w-]/g, '_')}.ndjson`), 'a');
    file = opened;
    // A write that failed may have left half a line, which must not spoil the next one.
    let torn = false;
    sinks.push(async (lines) => {
      const block = `${torn ? '\n' : ''}${lines.join('\n')}\n`;
      torn = true;
      await opened.appendFile(block);
      torn = false;
    });
  }
  if (api !== undefined)
    sinks.push((lines) => post(fetcher, api, `/api/runs/${encodeURIComponent(runId)}/results`, `[${lines.join(',')}]`));
  const batches = new Batches(async (lines) => {
    for (const sink of sinks) await sink(lines);
  });
  return {
    deliver: (result) => batches.add(JSON.stringify(result)),
    close: async () => file?.close(),
  };
}

/** Group commit: what comes while a batch is on its way shares the next one. */
class Batches {
  readonly #send: (lines: readonly string[]) => Promise<void>;
  #waiting: { readonly line: string; readonly done: (error?: unknown) => void }[] = [];
  #sending = false;

  constructor(send: (lines: readonly string[]) => Promise<void>) {
    this.#send = send;
  }

  add(line: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ line, done: (error) => (error === undefined ? resolve() : reject(error)) });
      if (!this.#sending) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#sending = true;
    while (this.#waiting.length > 0) {
      let [count, bytes] = [0, 0];
      for (const { line } of this.#waiting) {
        if (count > 0 && (count >= BATCH || bytes + line.length > BATCH_BYTES)) break;
        count += 1;
        bytes += line.length;
      }
      const batch = this.#waiting.splice(0, count);
      const failed = await this.#send(batch.map(({ line }) => line)).then(
        () => undefined,
        (error: unknown) => error ?? new Error('it failed'),
      );
      for (const { done } of batch) done(failed);
    }
    this.#sending = false;
  }
}

/** Posts JSON to the API, again and again for a minute while it is away. Rejects with Undeliverable. */
export async function post(fetcher: Fetcher, api: NonNullable<Environment['api']>, path: string, body: string): Promise<void> {
  const headers = {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...(api.key !== '' && { 'x-api-key': api.key }),
  };
  const startedAt = Date.now();
  for (let backoffMs = 250; ; backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS)) {
    let fault: string;
    try {
      const status = await statusOf(fetcher, new URL(`${api.baseUrl}${path}`), headers, body);
      if (status >= 200 && status < 300) return;
      fault = `it answers ${status}`;
      if (status < 500 && status !== 408 && status !== 429) throw new Undeliverable(`${path} of the API cannot be used: ${fault}`);
    } catch (thrown) {
      if (thrown instanceof Undeliverable) throw thrown;
      fault = (thrown as Error).message;
    }
    if (Date.now() - startedAt > PATIENCE_MS) throw new Undeliverable(`${path} of the API cannot be reached: ${fault}`);
    await new Promise((resolve) => setTimeout(resolve, backoffMs));
  }
}

async function statusOf(fetcher: Fetcher, url: URL, headers: Readonly<Record<string, string>>, body: string): Promise<number> {
  const deadline = new Deadline({ withinMs: CALL_MS });
  const over = () => deadline.end();
  try {
    const answer = await fetcher.call(url, { method: 'POST', headers, body, signal: deadline.signal });
    // What else it says is read and dropped, within the time.
    answer.once('close', over).resume();
    return answer.statusCode ?? 0;
  } catch (thrown) {
    over();
    throw thrown;
  }
}
