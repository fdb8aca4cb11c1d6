/** The second argument of a task. Made for every job, so what is seldom used is made when first asked for. */
import { format } from 'node:util';
import type { Json } from '../../../job/job.js';
import { toJsonText } from './output.js';
import type { Reports } from './reports.js';

const MAX_PROGRESS_CHARS = 64 * 1024;

export class JobContext {
  readonly jobId: string;
  /** 1 for the first run of this job. */
  readonly attempt: number;
  /** An empty folder, the only one the task can write to; also its current directory. Emptied after each job. */
  readonly workdir: string;
  readonly #reports: Reports;
  #controller: AbortController | undefined;
  #abortedWith: Error | undefined;

  constructor(jobId: string, attempt: number, workdir: string, reports: Reports) {
    this.jobId = jobId;
    this.attempt = attempt;
    this.workdir = workdir;
    this.#reports = reports;
  }

  /** Aborted when the job is cancelled or its time is over; the process is killed shortly after. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortedWith) this.#controller.abort(this.#abortedWith);
    }
    return this.#controller.signal;
  }

  /** Tells how far the job is: any JSON; a number is understood as a share of 1. Bound, so it can be passed on. */
  readonly progress = (value: unknown): void => {
    const text = toJsonText(value);
    if (text.length > MAX_PROGRESS_CHARS) throw new RangeError(`progress is limited to ${MAX_PROGRESS_CHARS} characters of JSON`);
    this.#reports.progress(JSON.parse(text) as Json);
  };

  readonly log = (...values: unknown[]): void => this.#reports.text('log', `${format(...values)}\n`);

  /** Not for the task: called by the process around it. */
  static abort(context: JobContext, reason: string): void {
    context.#abortedWith = Object.assign(new Error(`the job was stopped: ${reason}`), { name: 'AbortError' });
    context.#controller?.abort(context.#abortedWith);
  }
}
