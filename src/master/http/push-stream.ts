import type { IncomingMessage, ServerResponse } from 'node:http';
import { asPeerworkError, PeerworkError } from '../../errors.js';
import type { JobInput } from '../../job/job.js';
import { checkJobInput } from '../../job/job-input.js';
import { GIVEN_MESSAGE, MAX_MESSAGE_BYTES } from '../../job/limits.js';
import { type JsonRefused, parseJson } from '../../kit/json.js';
import { type Line, LineCutter } from '../../kit/lines.js';
import type { AddedJob } from '../../ledger/ledger.js';
import type { JobService } from '../job-service.js';
import { writeAll } from './ndjson.js';
import { problemOf } from './problems.js';
import { refusalOf } from './refused-json.js';

const BATCH_JOBS = 500;
const BATCH_CHARS = 4 * 1024 * 1024;

interface Entry {
  readonly line: number;
  readonly job: JobInput | undefined;
  readonly fault: PeerworkError | undefined;
}
type Reply = AddedJob | PeerworkError;

export interface PushStreamOptions {
  readonly service: JobService;
  readonly source: IncomingMessage;
  readonly replies: ServerResponse;
  /** Omits the lines for jobs that were added. */
  readonly problemsOnly: boolean;
  readonly idleMs: number;
}

/**
 * Pushes a stream of jobs, one per line, in batches that share a transaction, and replies line by line in order. Only one batch is
 * in flight, so a client that reads slowly, or a slow ledger, slows down reading the stream. Ends when the client disconnects.
 */
export class PushStream {
  readonly #options: PushStreamOptions;
  readonly #summary = { added: 0, known: 0, refused: 0 };
  #batch: Entry[] = [];
  #chars = 0;
  /** The ledger is working, so the client is not to blame for the silence. */
  #storing = false;

  constructor(options: PushStreamOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    const { source, replies, service } = this.#options;
    const cutter = new LineCutter(MAX_MESSAGE_BYTES, { trimmed: true });
    const timer = this.#watchIdle();
    // Plain iteration would destroy the connection, and the replies with it, if the loop ends early.
    try {
      for await (const chunk of source.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        timer.refresh();
        for (const line of cutter.take(chunk)) {
          this.#add(line);
          if (this.#isFull() && !(await this.#flush())) return;
        }
        // No more input is buffered: a client that sends slowly still gets its replies.
        if (source.readableLength === 0 && !(await this.#flush())) return;
        timer.refresh();
      }
      for (const line of cutter.end()) this.#add(line);
      if (await this.#flush()) replies.end(`${JSON.stringify({ summary: this.#summary })}\n`);
    } catch (error) {
      service.log.debug('a stream of jobs ended early', { error });
      replies.destroy();
    } finally {
      clearTimeout(timer);
    }
  }

  #watchIdle(): NodeJS.Timeout {
    const { source, idleMs } = this.#options;
    const timer = setTimeout(() => {
      if (this.#storing) timer.refresh();
      else source.destroy(new PeerworkError('request-slow'));
    }, idleMs);
    return timer;
  }

  #isFull(): boolean {
    return this.#batch.length >= BATCH_JOBS || this.#chars >= BATCH_CHARS;
  }

  #add(line: Line): void {
    this.#chars += line.text?.length ?? 0;
    this.#batch.push({ line: line.number, ...parsed(line) });
  }

  /** Stores the batch and writes the replies. Resolves with false if the client has gone. */
  async #flush(): Promise<boolean> {
    const batch = this.#batch;
    this.#batch = [];
    this.#chars = 0;
    if (batch.length === 0) return !this.#options.replies.destroyed;
    this.#storing = true;
    const replies = await pushBatch(this.#options.service, batch);
    this.#storing = false;
    let text = '';
    for (const [index, reply] of replies.entries()) {
      if (reply instanceof PeerworkError) {
        this.#summary.refused += 1;
        text += `${JSON.stringify({ line: batch[index]?.line, problem: problemOf(reply) })}\n`;
        continue;
      }
      this.#summary[reply.added ? 'added' : 'known'] += 1;
      if (!this.#options.problemsOnly) text += `${JSON.stringify(reply)}\n`;
    }
    return text === '' ? !this.#options.replies.destroyed : writeAll(this.#options.replies, text);
  }
}

function parsed({ text, fault = '', tooLong }: Line): Omit<Entry, 'line'> {
  if (text === undefined)
    return { job: undefined, fault: new PeerworkError(tooLong ? 'body-too-large' : 'request-invalid', `the line: ${fault}`) };
  try {
    return { job: parseJson(text, GIVEN_MESSAGE) as JobInput, fault: undefined };
  } catch (thrown) {
    return { job: undefined, fault: refusalOf(thrown as JsonRefused, 'the line') };
  }
}

/** Pushes the whole batch at once if possible. Invalid entries are sorted out first, so that one bad line does not affect others. */
async function pushBatch(service: JobService, batch: readonly Entry[]): Promise<Reply[]> {
  const first = await pushAll(service, batch);
  if (!first.some((reply) => reply instanceof PeerworkError && reply.code === 'job-invalid')) return first;
  return pushAll(
    service,
    batch.map((entry) => (entry.fault === undefined ? { ...entry, fault: faultOf(entry.job, service.clock.wall()) } : entry)),
  );
}

function faultOf(job: unknown, now: number): PeerworkError | undefined {
  try {
    checkJobInput(job, now);
    return undefined;
  } catch (thrown) {
    return asPeerworkError(thrown);
  }
}

async function pushAll(service: JobService, batch: readonly Entry[]): Promise<Reply[]> {
  const jobs = batch.flatMap(({ job, fault }) => (fault === undefined ? [job as JobInput] : []));
  const pushed = await pushOrEach(service, jobs);
  let next = 0;
  return batch.map(({ fault }) => {
    if (fault !== undefined) return fault;
    next += 1;
    return pushed[next - 1] ?? new PeerworkError('internal');
  });
}

async function pushOrEach(service: JobService, jobs: readonly JobInput[]): Promise<Reply[]> {
  if (jobs.length === 0) return [];
  try {
    return await service.push(jobs);
  } catch (thrown) {
    const error = refusal(service, thrown);
    // Any other failure would hit all of them equally; invalid jobs are sorted out before the next attempt.
    if (jobs.length === 1 || (error.code !== 'parent-unknown' && error.code !== 'graph-cycle')) return jobs.map(() => error);
    const each = jobs.map(async (job) => service.push([job]));
    const settled = await Promise.allSettled(each);
    return settled.map((one) => (one.status === 'fulfilled' ? (one.value[0] as AddedJob) : refusal(service, one.reason)));
  }
}

function refusal(service: JobService, thrown: unknown): PeerworkError {
  if (!(thrown instanceof PeerworkError))
    service.log.error('jobs could not be pushed', {
      error: thrown,
      hint: 'No action needed if it passes; it is retried. Otherwise check the disk or database of the ledger.',
    });
  return asPeerworkError(thrown);
}
