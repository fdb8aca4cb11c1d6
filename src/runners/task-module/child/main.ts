/**
 * The process that runs one task's jobs, one after the other. It starts with the permission model on, an environment
 * that holds no secret, and reads nothing but this folder, the task's files and what the parent sends.
 *
 * It ends when the parent closes fd 3, and after anything that leaves its state in doubt: an uncaught exception or an
 * unhandled rejection.
 */
import { readdirSync, rmSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { JobContext } from './context.js';
import { Fence } from './fence.js';
import { loadTask, type Task } from './load.js';
import { toJsonText, UnsendableError } from './output.js';
import { Reports } from './reports.js';
import { seal } from './seal.js';
import {
  type AbortLine,
  ANSWER_FD,
  type ChildLine,
  type ChildSetup,
  COMMAND_FD,
  type FailureCode,
  FENCE_FD,
  type JobLine,
  LineSplitter,
} from './wire.js';

interface Running {
  readonly number: number;
  readonly context: JobContext;
  readonly begunAt: number;
}

const fence = new Fence(FENCE_FD);
const queue: string[] = [];
let setup: ChildSetup | undefined;
let task: Task | undefined;
let reports: Reports | undefined;
let running: Running | undefined;
let working = false;
/** A file or folder of the job could not be removed: no more jobs here. */
let soiled = false;

/** Node's own, before the task can replace them. */
const { exit, chdir, cwd, kill } = process;

function writeText(text: string): void {
  const bytes = Buffer.from(text);
  let at = 0;
  while (at < bytes.length) {
    try {
      at += writeSync(ANSWER_FD, bytes, at);
    } catch (error) {
      // The pipe blocks, unless the task opened it anew and made it non-blocking.
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      else if ((error as NodeJS.ErrnoException).code !== 'EINTR') throw error;
    }
  }
}

function tell(line: ChildLine): void {
  writeText(`${JSON.stringify(line)}\n`);
}

function took(run: Running): number {
  return Math.round((performance.now() - run.begunAt) * 1_000) / 1_000;
}

function fail(run: Running, code: FailureCode, message: string, retry: boolean): void {
  reports?.end();
  running = undefined;
  const holdMs = JobContext.asks(run.context)?.holdMs;
  const told = message.slice(0, setup?.maxLineChars);
  tell(['failed', run.number, took(run), code, told, retry, ...(holdMs === undefined ? ([] as const) : ([holdMs] as const))]);
}

/** Name and message of whatever was thrown, even if it is built to throw again when touched. */
function describe(thrown: unknown): { message: string; stack: string; retry: boolean } {
  try {
    if (!(thrown instanceof Error)) return { message: typeof thrown === 'string' ? thrown : toJsonText(thrown), stack: '', retry: true };
    const { name, message, stack, code, unrecoverable, retry } = thrown as Error & Record<string, unknown>;
    // `fetch` says only that it failed.
    const why = thrown.cause instanceof Error ? `: ${String(thrown.cause.message)}` : '';
    const named = `${name === 'Error' ? '' : `${String(name)}: `}${String(message)}${why}`;
    return {
      message: typeof code === 'string' ? `${named} [${code}]` : named,
      stack: String(stack ?? ''),
      retry: unrecoverable !== true && retry !== false,
    };
  } catch {
    return { message: 'something that cannot be shown', stack: '', retry: true };
  }
}

function failWith(run: Running, thrown: unknown): void {
  const { message, stack, retry } = describe(thrown);
  if (stack !== '') reports?.text('stderr', `${stack}\n`);
  // Off-heap memory is limited by the system: a refused allocation is the job asking for more than allowed.
  if (thrown instanceof RangeError && message.includes('Array buffer allocation failed')) fail(run, 'memory', message, retry);
  else fail(run, 'task-threw', message, retry);
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
  const asks = asked === undefined ? '' : `,${JSON.stringify(asked)}`;
  const limit = setup?.maxOutputBytes ?? 0;
  const size = text.length + asks.length;
  if (size * 3 > limit && Buffer.byteLength(text) + Buffer.byteLength(asks) > limit) {
    fail(run, 'output-too-large', `${Buffer.byteLength(text) + Buffer.byteLength(asks)} bytes of JSON, allowed are ${limit}`, false);
    return;
  }
  reports?.end();
  running = undefined;
  writeText(`["completed",${run.number},${took(run)},${text}${asks}]\n`);
}

async function runOne(line: string, call: Task, out: Reports, workdir: string): Promise<void> {
  const [, number, id, attempt, channel, data, parents = [], tunnel] = JSON.parse(line) as JobLine;
  if (!fence.begin(number)) {
    tell(['back', number]);
    return;
  }
  const context = new JobContext({ jobId: id, attempt, parents, tunnel }, workdir, out);
  const run: Running = { number, context, begunAt: performance.now() };
  running = run;
  try {
    const output = await call({ id, data, channel, attempt, parents }, context);
    if (running === run) complete(run, output);
  } catch (error) {
    if (running === run) failWith(run, error);
  }
  tidy(workdir);
}

function tidy(workdir: string): void {
  try {
    if (cwd() !== workdir) chdir(workdir);
    for (const name of readdirSync(workdir)) rmSync(join(workdir, name), { recursive: true, force: true });
  } catch {
    soiled = true;
  }
}

async function work(): Promise<void> {
  if (working || task === undefined || reports === undefined || setup === undefined) return;
  working = true;
  for (let line = queue.shift(); line !== undefined; line = queue.shift()) {
    await runOne(line, task, reports, setup.workdir);
    if (soiled) end();
  }
  working = false;
}

/** Nothing can be known about the state of the process any more. */
function breakDown(code: 'crashed' | 'task-threw', thrown: unknown): void {
  const run = running;
  if (run !== undefined) {
    if (code === 'task-threw') failWith(run, thrown);
    else {
      const { message, stack, retry } = describe(thrown);
      if (stack !== '') reports?.text('stderr', `${stack}\n`);
      fail(run, 'crashed', `uncaught exception: ${message}`, retry);
    }
  } else if (task === undefined) {
    const { message, stack } = describe(thrown);
    tell(['unloadable', message, stack]);
  }
  end();
}

/** Without Node's own way out, in which version 20 can hang under load. */
function end(): never {
  tell(['worn']);
  kill.call(process, process.pid, 'SIGKILL');
  return exit(0);
}

/** Keeps a task from signalling its parent by accident; a wall only where the parent is in another pid namespace. */
function keepSignalsHome(): void {
  const EPERM = -1;
  // process.kill goes through this undocumented binding (Node 20 to 26), so that one guard serves both.
  const raw = (process as unknown as { _kill: (pid: number, signal: number) => number })._kill;
  const value = (pid: number, signal: number) => (pid === process.pid ? raw.call(process, pid, signal) : EPERM);
  Object.defineProperty(process, '_kill', { value, writable: false, configurable: false });
}

async function begin(given: ChildSetup): Promise<void> {
  setup = given;
  const out = new Reports((progress) => running && tell(['report', running.number, progress]), given.maxLineChars);
  reports = out;
  const stdout = out.stream('stdout');
  const stderr = out.stream('stderr');
  Object.defineProperty(process, 'stdout', { get: () => stdout, configurable: true });
  Object.defineProperty(process, 'stderr', { get: () => stderr, configurable: true });
  try {
    const loaded = await loadTask(given.entry);
    tidy(given.workdir);
    task = loaded;
  } catch (error) {
    const { message, stack } = describe(error);
    tell(['unloadable', message, stack]);
    end();
  }
  tell(['ready']);
  await work();
}

function listen(): void {
  const splitter = new LineSplitter(Number.POSITIVE_INFINITY);
  const commands = new Socket({ fd: COMMAND_FD, readable: true, writable: false });
  commands.on('data', (chunk: Buffer) => {
    for (const line of splitter.push(chunk) ?? []) {
      if (setup === undefined) void begin(JSON.parse(line) as ChildSetup);
      else if (line.startsWith('["abort"')) {
        const [, number, reason] = JSON.parse(line) as AbortLine;
        if (running?.number === number) JobContext.abort(running.context, reason);
      } else queue.push(line);
    }
    void work();
  });
  const orphaned = () => kill.call(process, process.pid, 'SIGKILL');
  commands.on('end', orphaned);
  commands.on('error', orphaned);
}

process.on('uncaughtException', (error, origin) => breakDown(origin === 'unhandledRejection' ? 'task-threw' : 'crashed', error));
process.on('exit', (code) => {
  if (running !== undefined || task === undefined) tell(['bye', code]);
});
keepSignalsHome();
seal();
listen();
