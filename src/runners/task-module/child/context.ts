/** The second argument of a task. Created for every job, so rarely used parts are created on first access. */
import { format } from 'node:util';
import type { FileRef } from '../../../job/files.js';
import type { ChildInput, Json, ParentOutput } from '../../../job/job.js';
import { toJsonText } from './output.js';
import { byteLength, ceil, create, flat, getOwnPropertyDescriptor, isFiniteNumber, keysOf, max, parseJson, push } from './primordials.js';
import type { Reports } from './reports.js';
import type { Asks, ChildFiles, TunnelAddress } from './wire.js';

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
  readonly parents: readonly ParentOutput[];
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
    this.files = job.files === undefined ? NO_FILES : pathsOf(job.files);
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

  /** The reference of one of the job's files, for the `files` of a child: its content is not sent again. */
  readonly fileRef = (name: string): FileRef => {
    const found = this.#files && (getOwnPropertyDescriptor(this.#files, name)?.value as ChildFiles[string] | undefined);
    if (found === undefined) throw new RangeError(`the job has no file ${name}`);
    return { sha256: found.sha256, size: found.size };
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

/** Without a prototype: a file may have any name. */
function pathsOf(files: ChildFiles): Readonly<Record<string, string>> {
  const paths: Record<string, string> = create(null);
  const names = keysOf(files);
  for (let at = 0; at < names.length; at += 1) {
    const name = names[at] as string;
    paths[name] = files[name]?.path ?? '';
  }
  return paths;
}

function duration(ms: unknown, of: string): number {
  if (typeof ms !== 'number' || !isFiniteNumber(ms) || ms < 0) throw new RangeError(`${of} takes milliseconds from 0`);
  return ceil(ms);
}
