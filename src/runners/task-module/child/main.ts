/**
 * The process that runs one task's jobs, one after the other. It starts with the permission model enabled and an environment without
 * secrets, and reads nothing but this folder, the task's files and what the parent sends.
 *
 * It ends when the parent closes fd 3, and after anything that leaves its state in doubt: an uncaught exception or an unhandled
 * rejection.
 */

import type { ErrorPart } from '../../../kit/error-parts.js';
import { readCommands } from './commands.js';
import { JobContext } from './context.js';
import { failureOf } from './failure.js';
import { Fence } from './fence.js';
import { Intrinsics } from './intrinsics.js';
import { givenOf, loadTask, type Task } from './load.js';
import { toJsonText, UnsendableError } from './output.js';
import {
  apply,
  Bytes,
  byteLength,
  defineProperty,
  encodeInto,
  exit,
  file,
  includes,
  kill,
  now,
  parseJson,
  round,
  slice,
  startsWith,
  stringify,
} from './primordials.js';
import { Reports } from './reports.js';
import { seal } from './seal.js';
import { ProcessState, tidy } from './tidy.js';
import {
  type AbortLine,
  ANSWER_FD,
  type ChildLine,
  type ChildSetup,
  COMMAND_FD,
  type FailureCode,
  FENCE_FD,
  type JobLine,
} from './wire.js';

interface Running {
  readonly number: number;
  readonly context: JobContext;
  readonly begunAt: number;
}

const fence = new Fence(FENCE_FD);
/** A linked list of the lines of waiting jobs, because a job could replace the methods of an array. */
interface Waiting {
  readonly line: string;
  next: Waiting | undefined;
}

let first: Waiting | undefined;
let last: Waiting | undefined;
let setup: ChildSetup | undefined;
let task: Task | undefined;
let reports: Reports | undefined;
let running: Running | undefined;
let working = false;
/** State of the process after its task was loaded. */
let baseline: { readonly state: ProcessState; readonly intrinsics: Intrinsics } | undefined;
/** Interval of comparisons between jobs that were queued ahead, see isClean. */
const COMPARE_MS = 1;
let comparedAt = Number.NEGATIVE_INFINITY;

/** Not one of Node's pool, which jobs share: an output would remain in it for the next job to read. */
const outgoing = new Bytes(64 * 1024);
const sleepCell = new Int32Array(new SharedArrayBuffer(4));
const { wait } = Atomics;
const { pid } = process;

function writeText(text: string): void {
  for (let from = 0; from < text.length; ) {
    const { read, written } = encodeInto(from === 0 ? text : slice(text, from), outgoing);
    writeBytes(written);
    from += read;
  }
}

function writeBytes(count: number): void {
  for (let at = 0; at < count; ) {
    try {
      at += file.writeSync(ANSWER_FD, outgoing, at, count - at);
    } catch (error) {
      // The pipe blocks, unless the task reopened it and made it non-blocking.
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') wait(sleepCell, 0, 0, 1);
      else if ((error as NodeJS.ErrnoException).code !== 'EINTR') throw error;
    }
  }
}

function send(line: ChildLine): void {
  writeText(`${stringify(line)}\n`);
}

function elapsedMs(run: Running): number {
  return round((now() - run.begunAt) * 1_000) / 1_000;
}

/** Reports after this are not attributed to the job. */
function close(run: Running): void {
  reports?.end();
  running = undefined;
  JobContext.end(run.context);
}

function fail(run: Running, code: FailureCode, message: string, retry: boolean, details?: ErrorPart): void {
  close(run);
  const holdMs = JobContext.asks(run.context)?.holdMs ?? null;
  send(['failed', run.number, elapsedMs(run), code, slice(message, 0, setup?.maxLineChars), retry, holdMs, details ?? null]);
}

function failWith(run: Running, thrown: unknown): void {
  const { message, stack, retry, details } = failureOf(thrown);
  if (stack !== '') reports?.lines('stderr', stack);
  // Off-heap memory is limited by the system: a refused allocation means that the job requested more than allowed.
  if (thrown instanceof RangeError && includes(message, 'Array buffer allocation failed')) fail(run, 'memory', message, retry);
  else fail(run, 'task-threw', message, retry, details);
}

function complete(run: Running, output: unknown): void {
  let text: string;
  try {
    text = toJsonText(output);
  } catch (error) {
    if (error instanceof UnsendableError) fail(run, 'output-unsendable', error.message, false);
    else failWith(run, error);
    return;
  }
  const asked = JobContext.asks(run.context);
  const asks = asked === undefined ? '' : `,${stringify(asked)}`;
  const limit = setup?.maxOutputBytes ?? 0;
  const size = text.length + asks.length;
  const bytes = size * 3 > limit ? byteLength(text) + byteLength(asks) : size;
  if (bytes > limit) {
    fail(run, 'output-too-large', `${bytes} bytes of JSON, allowed are ${limit}`, false);
    return;
  }
  close(run);
  writeText(`["completed",${run.number},${elapsedMs(run)},${text}${asks}]\n`);
}

let onTaken: (() => void) | undefined;

/** Waits until the parent has taken what the job left for its outcome: the folder is emptied for the next job. */
async function handOverFiles(run: Running): Promise<void> {
  if (running !== run || !JobContext.hasOutFolder(run.context)) return;
  const taken = new Promise<void>((resolve) => {
    onTaken = resolve;
  });
  send(['out', run.number]);
  await taken;
}

async function runOne(line: string, call: Task, out: Reports, workdir: string): Promise<void> {
  const job = parseJson(line) as JobLine;
  const number = job[1];
  if (!fence.begin(number)) {
    send(['back', number]);
    return;
  }
  const id = job[2];
  const attempt = job[3];
  const parents = job[6] ?? [];
  const context = new JobContext({ jobId: id, attempt, parents, tunnel: job[7] ?? undefined, files: job[8] }, workdir, out);
  const run: Running = { number, context, begunAt: now() };
  running = run;
  try {
    const output = await call(givenOf({ id, data: job[5], channel: job[4], attempt, parents }), context);
    await handOverFiles(run);
    if (running === run) complete(run, output);
  } catch (error) {
    await handOverFiles(run);
    if (running === run) failWith(run, error);
  }
}

/**
 * Returns false if the next job would find leftovers of the previous one. A thousand comparisons cost as much as a trivial job, because
 * of what they evict from the processor's caches: in a series of jobs that were queued ahead they run periodically, otherwise after each
 * job.
 */
function isClean(workdir: string): boolean {
  const at = now();
  const quick = first !== undefined && at - comparedAt < COMPARE_MS;
  if (!quick) comparedAt = at;
  if (!tidy(workdir) || baseline === undefined || !baseline.state.restore(quick)) return false;
  return quick || !baseline.intrinsics.changed();
}

function enqueue(line: string): void {
  const waiting: Waiting = { line, next: undefined };
  if (last === undefined) first = waiting;
  else last.next = waiting;
  last = waiting;
}

function takeWaiting(): string | undefined {
  const taken = first;
  first = taken?.next;
  if (first === undefined) last = undefined;
  return taken?.line;
}

async function work(): Promise<void> {
  if (working || task === undefined || reports === undefined || setup === undefined) return;
  working = true;
  for (let line = takeWaiting(); line !== undefined; line = takeWaiting()) {
    await runOne(line, task, reports, setup.workdir);
    if (!isClean(setup.workdir)) terminate();
  }
  working = false;
}

/** The state of the process is unknown from here on. */
function crash(code: 'crashed' | 'task-threw', thrown: unknown): void {
  const run = running;
  if (run !== undefined) {
    if (code === 'task-threw') failWith(run, thrown);
    else {
      const { message, stack, retry, details } = failureOf(thrown);
      if (stack !== '') reports?.lines('stderr', stack);
      fail(run, 'crashed', message, retry, details);
    }
  } else if (task === undefined) {
    sendUnloadable(thrown);
  }
  terminate();
}

function sendUnloadable(thrown: unknown): void {
  const { message, details } = failureOf(thrown);
  send(['unloadable', message, details ?? null]);
}

/** Bypasses Node's own exit, in which version 20 can hang under load. */
function terminate(): never {
  send(['worn']);
  apply(kill, process, [pid, 'SIGKILL']);
  return exit(0);
}

/** Prevents a task from signalling its parent by accident; a wall only if the parent is in another pid namespace. */
function restrictSignals(): void {
  const EPERM = -1;
  // process.kill uses this undocumented binding (Node 20 to 26), so that one guard covers both.
  const raw = (process as unknown as { _kill: (pid: number, signal: number) => number })._kill;
  const value = (target: number, signal: number) => (target === pid ? (apply(raw, process, [target, signal]) as number) : EPERM);
  defineProperty(process, '_kill', { value, writable: false, configurable: false });
}

async function begin(given: ChildSetup): Promise<void> {
  setup = given;
  const out = new Reports((progress) => running && send(['report', running.number, progress]), given.maxLineChars);
  reports = out;
  const stdout = out.stream('stdout');
  const stderr = out.stream('stderr');
  defineProperty(process, 'stdout', { get: () => stdout, configurable: true });
  defineProperty(process, 'stderr', { get: () => stderr, configurable: true });
  try {
    const loaded = await loadTask(given.entry);
    tidy(given.workdir);
    baseline = { state: new ProcessState(), intrinsics: new Intrinsics() };
    task = loaded;
  } catch (error) {
    sendUnloadable(error);
    terminate();
  }
  send(['ready']);
  await work();
}

function take(line: string): void {
  if (setup === undefined) void begin(parseJson(line) as ChildSetup);
  else if (startsWith(line, '["taken"')) onTaken?.();
  else if (startsWith(line, '["abort"')) {
    const abort = parseJson(line) as AbortLine;
    if (running?.number === abort[1]) JobContext.abort(running.context, abort[2]);
  } else {
    enqueue(line);
    void work();
  }
}

process.on('uncaughtException', (error, origin) => crash(origin === 'unhandledRejection' ? 'task-threw' : 'crashed', error));
process.on('exit', (code) => {
  // Flushes unfinished lines and held progress.
  if (running !== undefined) reports?.end();
  if (running !== undefined || task === undefined) send(['bye', code]);
});
restrictSignals();
seal();
readCommands(COMMAND_FD, take, () => apply(kill, process, [pid, 'SIGKILL']));
