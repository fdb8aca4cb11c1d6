import { constants } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Batches } from '../crawl/queue/batches.js';
import { MemoryQueue } from '../crawl/queue/memory-queue.js';
import type { AddAnswer, QueuedRequest } from '../crawl/queue/redis-queue.js';
import { type JsonLimits, parseJson } from '../kit/json.js';
import { AppendFile } from './append-file.js';

const QUEUE_FILE = 'pages.queue';
/** Line that marks that some pages had no room. */
const FULL = '"full"';
const LINE_LIMITS: JsonLimits = { maxBytes: 16 * 1024 * 1024 };

/**
 * The queue of a single crawler that persists its pages in the results folder for a later attempt of the same crawl: each page is written
 * before it counts as queued, and handled pages are known by their results.
 */
export class KeptQueue extends MemoryQueue {
  readonly #file: AppendFile;
  readonly #batches: Batches<{ readonly json: string }>;
  #wroteFull = false;

  private constructor(maxRequests: number, file: AppendFile) {
    super(maxRequests);
    this.#file = file;
    this.#batches = new Batches<{ readonly json: string }>(async (lines) => {
      await file.append(lines.map(({ json }) => json));
      return [];
    });
  }

  /** Restores the content of the folder. */
  static async open(folder: string, maxRequests: number): Promise<KeptQueue> {
    const path = join(folder, QUEUE_FILE);
    const file = await AppendFile.open(path);
    const queue = new KeptQueue(maxRequests, file);
    const done = new Map<string, boolean>();
    for (const name of (await readdir(folder)).filter((each) => each.endsWith('.ndjson')))
      for await (const { requestId, error } of objectsIn(join(folder, name)))
        if (typeof requestId === 'string') done.set(requestId, error !== undefined && (done.get(requestId) ?? true));
    for (const [id, failed] of done) queue.restore(id, failed);
    for await (const line of linesOf(path)) {
      if (line === FULL) queue.markFull();
      const { id } = objectOf(line) ?? {};
      if (typeof id === 'string') await queue.admit([{ id, json: line }]);
    }
    return queue;
  }

  override async add(requests: readonly QueuedRequest[]): Promise<AddAnswer[]> {
    const answers = await this.admit(requests);
    const lines = requests.filter((_, at) => answers[at] === 'added').map(({ json }) => json);
    if (answers.includes('full') && !this.#wroteFull) {
      this.#wroteFull = true;
      lines.push(FULL);
    }
    await Promise.all(lines.map((json) => this.#batches.add({ json })));
    return answers;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  private admit(requests: readonly QueuedRequest[]): Promise<AddAnswer[]> {
    return super.add(requests);
  }
}

async function* objectsIn(path: string): AsyncGenerator<{ readonly [key: string]: unknown }> {
  for await (const line of linesOf(path)) {
    const object = objectOf(line);
    if (object !== undefined) yield object;
  }
}

function objectOf(line: string): { readonly [key: string]: unknown } | undefined {
  try {
    const value = parseJson(line, LINE_LIMITS);
    return typeof value === 'object' && value !== null ? (value as { readonly [key: string]: unknown }) : undefined;
  } catch {
    // Truncated when its writer was killed.
    return undefined;
  }
}

/** Yields complete lines; nothing for a pipe, which would never end. */
async function* linesOf(path: string): AsyncGenerator<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) return;
    yield* createInterface({ input: file.createReadStream({ autoClose: false }), crlfDelay: Number.POSITIVE_INFINITY });
  } finally {
    await file.close();
  }
}
