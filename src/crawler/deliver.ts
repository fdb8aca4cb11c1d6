import { join } from 'node:path';
import { Batches } from '../crawl/queue/batches.js';
import type { KeptResult } from '../crawl/queue/redis-queue.js';
import { Backoff, retry } from '../kit/backoff.js';
import { carryMs, Deadline } from '../kit/deadline.js';
import { AppendFile } from './append-file.js';
import type { Environment } from './environment.js';
import type { Fetcher } from './fetch.js';

/** The result of one page; `requestId` identifies the page, so that duplicates count once. */
export interface PageResult {
  readonly requestId: string;
  readonly url: string;
  readonly [field: string]: unknown;
}

/** Where results go. `deliver` resolves once the result is stored safely; only then may its page count as handled. */
export interface Delivery {
  deliver(result: PageResult): Promise<void>;
  close(): Promise<void>;
}

/** Results of this run can no longer be delivered: it must end. */
export class Undeliverable extends Error {}

const CALL_MS = 30_000;
const RETRY_LIMIT_MS = 60_000;
const FIRST_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 8_000;

/** `keep` receives the results too, for a later attempt elsewhere. */
export async function openDelivery(
  environment: Environment,
  fetcher: Fetcher,
  keep?: (results: readonly KeptResult[]) => Promise<void>,
): Promise<Delivery> {
  const sinks: ((results: readonly KeptResult[]) => Promise<void>)[] = [];
  let file: AppendFile | undefined;
  const { api, runId, resultsFolder, worker } = environment;
  if (resultsFolder !== undefined) {
    // The worker's name is untrusted.
    const opened = await AppendFile.open(join(resultsFolder, `${worker.replace(/[^\w-]/g, '_')}.ndjson`));
    file = opened;
    sinks.push((results) => opened.append(results.map(({ json }) => json)));
  }
  if (keep !== undefined) sinks.push(keep);
  if (api !== undefined)
    sinks.push((results) =>
      post(fetcher, api, `/api/runs/${encodeURIComponent(runId)}/results`, `[${results.map(({ json }) => json).join(',')}]`),
    );
  const batches = new Batches<KeptResult>(async (results) => {
    for (const sink of sinks) await sink(results);
    return [];
  });
  return {
    deliver: (result) => batches.add({ id: result.requestId, failed: result['error'] !== undefined, json: JSON.stringify(result) }),
    close: async () => file?.close(),
  };
}

/** Posts JSON to the API, with retries for a minute while it is unavailable. Rejects with Undeliverable. */
export async function post(fetcher: Fetcher, api: NonNullable<Environment['api']>, path: string, body: string): Promise<void> {
  const headers = {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...(api.key !== '' && { 'x-api-key': api.key }),
  };
  const attempt = async () => {
    const status = await statusOf(fetcher, new URL(`${api.baseUrl}${path}`), headers, body);
    if (status >= 200 && status < 300) return;
    if (status >= 500 || status === 408 || status === 429) throw new Error(`it responded ${status}`);
    throw new Undeliverable(`${path} of the API cannot be used: it responded ${status}`);
  };
  const startedAt = performance.now();
  const backoff = new Backoff({ firstMs: FIRST_BACKOFF_MS, capMs: MAX_BACKOFF_MS });
  const isPassing = (thrown: unknown) => !(thrown instanceof Undeliverable) && performance.now() - startedAt <= RETRY_LIMIT_MS;
  await retry(attempt, { backoff, isPassing }).catch((thrown: Error) => {
    throw thrown instanceof Undeliverable ? thrown : new Undeliverable(`${path} of the API cannot be reached: ${thrown.message}`);
  });
}

async function statusOf(fetcher: Fetcher, url: URL, headers: Readonly<Record<string, string>>, body: string): Promise<number> {
  const deadline = new Deadline({ withinMs: CALL_MS + carryMs(body.length) });
  const over = () => deadline.end();
  try {
    const answer = await fetcher.call(url, { method: 'POST', headers, body, signal: deadline.signal });
    // The rest of the response is read and dropped, within the time limit.
    answer.once('close', over).resume();
    return answer.statusCode ?? 0;
  } catch (thrown) {
    over();
    throw thrown;
  }
}
