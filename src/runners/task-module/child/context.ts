/** The second argument of a task. Created for every job, so rarely used parts are created on first access. */
import { format } from 'node:util';
import type { FileRef } from '../../../job/files.js';
import type { ChildInput, Json } from '../../../job/job.js';
import { attach } from './attach.js';
import { toJsonText } from './output.js';
import {
  byteLength,
  ceil,
  create,
  file,
  flat,
  getOwnPropertyDescriptor,
  isFiniteNumber,
  keysOf,
  max,
  parseJson,
  push,
} from './primordials.js';
import type { Reports } from './reports.js';
import { type Asks, type ChildFiles, type ChildParent, OUT_FOLDER, type TunnelAddress } from './wire.js';

/** As in job/limits.ts, which a child cannot import. */
const MAX_PROGRESS_BYTES = 64 * 1024;

const NO_FILES: Readonly<Record<string, string>> = Object.freeze(create(null));

export class JobContext {
  readonly jobId: string;
  /** 1 for the first run of this job. */
  readonly attempt: number;
  /** An empty folder, the only one that the task can write to; also its current directory. Emptied after each job. */
  readonly workdir: string;
  /** Data and outputs of the jobs that had to end first, in the order in which the job lists them. */
  readonly parents: readonly ChildParent[];
  /**
   * The local address `{ host, port }` that leads to the one address at its Master that the job may reach; undefined if its task names
   * none.
   */
  readonly tunnel: TunnelAddress | undefined;
  /** Read-only files of the job: absolute paths by name. */
  readonly files: Readonly<Record<string, string>>;
  readonly #files: ChildFiles | undefined;
  /** Undefined once the job has ended, so that code it left running does not report for the next one. */
  #reports: Reports | undefined;
  readonly #children: ChildInput[] = [];
  #childrenDelayMs: number | undefined;
  #holdMs: number | undefined;
  #controller: AbortController | undefined;
  #abortedWith: Error | undefined;
  #outdir: string | undefined;

  constructor(
    job: Pick<JobContext, 'jobId' | 'attempt' | 'parents' | 'tunnel'> & { readonly files: ChildFiles | undefined },
    workdir: string,
    reports: Reports,
  ) {
    this.jobId = job.jobId;
    this.attempt = job.attempt;
    this.parents = job.parents;
    this.tunnel = job.tunnel;
    this.#files = job.files;
    this.files = job.files?.paths ?? NO_FILES;
    this.workdir = workdir;
    this.#reports = reports;
  }

  /** Aborted when the job is cancelled or exceeds its time limit; the process is killed shortly after. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortedWith) this.#controller.abort(this.#abortedWith);
    }
    return this.#controller.signal;
  }

  /** Reports progress: any JSON; a number is understood as a fraction of 1. Bound, so that it can be passed on. */
  readonly progress = (value: unknown): void => {
    const text = toJsonText(value, 'progress');
    if (byteLength(text) > MAX_PROGRESS_BYTES) throw new RangeError(`progress is limited to ${MAX_PROGRESS_BYTES} bytes of JSON`);
    this.#reports?.progress(parseJson(text) as Json);
  };

  readonly log = (...values: unknown[]): void => this.#reports?.text('log', `${format(...values)}\n`);

  /**
   * Adds jobs that are created together with the completion of this one: all or none. They are its children, unless they name other
   * parents.
   */
  readonly spawn = (...children: unknown[]): void => {
    const each = flat(children);
    for (let at = 0; at < each.length; at += 1) push(this.#children, parseJson(toJsonText(each[at], `children[${at}]`)) as ChildInput);
  };

  /** A folder whose files come back with the outcome, by their paths in it. */
  get outdir(): string {
    if (this.#outdir === undefined) {
      this.#outdir = `${this.workdir}/${OUT_FOLDER}`;
      file.mkdirSync(this.#outdir, { recursive: true });
    }
    return this.#outdir;
  }

  /** Adds a file to the outcome: the path of one that the job has made, bytes, or a stream of bytes. */
  readonly attach = (name: string, content: string | Uint8Array | AsyncIterable<Uint8Array>): Promise<void> =>
    attach(this.outdir, name, content);

  /**
   * The reference of one of the job's files, by its name, or of a parent's, by its path: for the `files` of a child. Its content is not sent
   * again.
   */
  readonly fileRef = (nameOrPath: string): FileRef => {
    const files = this.#files;
    const path = files && ownValue(files.paths, nameOrPath);
    const found = files && ownValue(files.refs, path ?? nameOrPath);
    if (found === undefined) throw new RangeError(`the job has no file ${nameOrPath}`);
    return found;
  };

  /** Delays all children of this job, new or existing, by this many milliseconds after its completion. */
  readonly delayChildren = (ms: number): void => {
    this.#childrenDelayMs = duration(ms, 'delayChildren');
  };

  /**
   * However this run ends, no job of its workgroup starts for this many milliseconds, as when an API reports that its rate limit is
   * reached.
   */
  readonly hold = (ms: number): void => {
    this.#holdMs = max(this.#holdMs ?? 0, duration(ms, 'hold'));
  };

  /** Internal: returns what the task requested besides its output; undefined if nothing. */
  static asks(context: JobContext): Asks | undefined {
    const children = context.#children;
    const asks = {
      ...(children.length > 0 && { children }),
      ...(context.#childrenDelayMs !== undefined && { childrenDelayMs: context.#childrenDelayMs }),
      ...(context.#holdMs !== undefined && { holdMs: context.#holdMs }),
    };
    return keysOf(asks).length > 0 ? asks : undefined;
  }

  /** Internal: whether the job may have left files for its outcome. */
  static hasOutFolder(context: JobContext): boolean {
    return context.#outdir !== undefined;
  }

  /** Internal: called when the job has ended. */
  static end(context: JobContext): void {
    context.#reports = undefined;
  }

  /** Internal: called by the process around the task. */
  static abort(context: JobContext, reason: string): void {
    context.#abortedWith = Object.assign(new Error(`the job was stopped: ${reason}`), { name: 'AbortError' });
    context.#controller?.abort(context.#abortedWith);
  }
}

/** A file may have any name, also that of something in every object's prototype. */
function ownValue<T>(of: Readonly<Record<string, T>>, name: string): T | undefined {
  return getOwnPropertyDescriptor(of, name)?.value as T | undefined;
}

function duration(ms: unknown, of: string): number {
  if (typeof ms !== 'number' || !isFiniteNumber(ms) || ms < 0) throw new RangeError(`${of} takes milliseconds from 0`);
  return ceil(ms);
}
