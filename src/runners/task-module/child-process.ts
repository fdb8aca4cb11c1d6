import type { Readable } from 'node:stream';
import type { EgressProxy } from '../../egress/proxy.js';
import { MAX_JOB_DATA_BYTES, MAX_LOG_LINE_CHARS } from '../../job/limits.js';
import { wordsOf } from '../../kit/error-parts.js';
import { LineCutter } from '../../kit/lines.js';
import { fileError } from '../../kit/system-error.js';
import { killTree } from '../../sandbox/processes.js';
import type { ChildLine, ChildSetup } from './child/wire.js';
import type { ChildHost, ChildTask, Unloadable } from './child-host.js';
import { openChildNetwork, tunnelAddress } from './child-network.js';
import { determineEnding, type Exit, startupCrash } from './ending.js';
import { type Handed, prepareJob } from './job-line.js';
import { takeOut } from './out-files.js';
import { RawOutput } from './raw-output.js';
import { MAX_LINE_BYTES, readChildLine } from './read-child-line.js';
import type { Run, StopCause } from './run.js';
import { type Spawned, spawnChild } from './spawn-child.js';

/** How long a job may continue after it was asked to stop. */
const GRACE_MS = 500;
/** Time limit for loading a task with all its imports, on a slow machine. */
const LOAD_LIMIT_MS = 60_000;
/** Time limit from handing a job over to its beginning, with none before it. */
const BEGIN_LIMIT_MS = 5_000;

/**
 * One process of one workplace.
 *
 * starting → (ready) → idle ⇄ busy → ended. Jobs are handed over only after `ready`, one or several ahead; the head of the queue is
 * running. To stop the head, the child is asked (`abort`), and after a grace the whole tree is killed. However the process ends, the head
 * is charged if the fence shows that it had begun, and the others return to the runner.
 */
export class TaskChild {
  readonly pid: number;
  readonly workdir: string;
  /** Resolves when the process is gone and all its jobs have moved on. */
  readonly gone: Promise<void>;
  state: 'starting' | 'ready' | 'ended' = 'starting';
  idleSince: number;
  readonly #host: ChildHost<TaskChild>;
  readonly #task: ChildTask;
  /** In bubblewrap: the only way out of its empty network namespace. */
  readonly #network: EgressProxy | undefined;
  readonly #spawned: Spawned;
  readonly #output: RawOutput;
  readonly #handed: Handed[] = [];
  #weight = 0;
  #lastNumber = 0;
  /** Jobs up to this number were taken back, unless they had begun. */
  #revoked = 0;
  #outgoing = '';
  #startedAt: number;
  #graceEndsAt = Number.POSITIVE_INFINITY;
  /** Set when the whole child is to be terminated, not just a job. */
  #termination: { readonly cause: StopCause; readonly detail: string } | undefined;
  #unloadable: Unloadable | undefined;
  #byeCode: number | undefined;
  #breach = '';
  #settledAny = false;
  #retiring = false;

  constructor(host: ChildHost<TaskChild>, task: ChildTask) {
    this.#host = host;
    this.#task = task;
    const { entry, readable, policy } = task;
    const { sandbox, memoryMb } = host;
    this.#startedAt = host.clock.now();
    this.idleSince = this.#startedAt;
    const jobs = {
      head: () => this.head,
      numbered: (matches: (number: number) => boolean) => this.#handed.find((each) => matches(each.number))?.run,
    };
    this.#network = sandbox.tier === 'bwrap' ? openChildNetwork(policy, host.internet, jobs) : undefined;
    const proxySocket = this.#network?.socketPath;
    const limits = {
      memoryMb,
      network: policy.mode === 'none' ? 'deny' : 'allow',
      ...(proxySocket !== undefined && { proxySocket }),
    } as const;
    this.#spawned = spawnChild({ ...host, limits, readable, onExit: () => this.#exited() });
    const { pid, workdir, answers, stdout, stderr, commands, ended } = this.#spawned;
    this.pid = pid;
    this.workdir = workdir;
    this.#output = new RawOutput(
      [stdout, stderr],
      answers,
      () => host.clock.now(),
      (progress) => this.head?.report(progress),
    );
    this.#listen(answers);
    this.gone = ended.then((exit) => {
      this.#conclude(exit);
      return this.#network?.close();
    });
    const setup: ChildSetup = { entry, workdir, maxOutputBytes: MAX_JOB_DATA_BYTES, maxLineChars: MAX_LOG_LINE_CHARS };
    commands.write(`${JSON.stringify(setup)}\n`);
  }

  /** The running job. */
  get head(): Run | undefined {
    return this.#handed[0]?.run;
  }

  /** The number of its jobs, including the running one. */
  get load(): number {
    return this.#handed.length;
  }

  /** Characters of all its jobs on the wire. */
  get weight(): number {
    return this.#weight;
  }

  has(run: Run): boolean {
    return this.#handed.some((each) => each.run === run);
  }

  /** Whether it takes jobs; false once it is ending. */
  get usable(): boolean {
    return this.state === 'ready' && !this.#retiring && this.#termination === undefined && this.#graceEndsAt === Number.POSITIVE_INFINITY;
  }

  hand(run: Run): void {
    this.#lastNumber += 1;
    const tunnel = this.#network !== undefined && run.way !== undefined ? tunnelAddress(this.#lastNumber) : run.tunnel;
    let prepared: ReturnType<typeof prepareJob>;
    try {
      prepared = prepareJob(this.#lastNumber, run, { tunnel, filesFolder: this.#spawned.filesFolder });
    } catch (thrown) {
      const { code, message } = fileError(thrown, 'job-invalid');
      run.fail(code, message, code !== 'job-invalid');
      return;
    }
    const { line, handed } = prepared;
    this.#handed.push(handed);
    this.#weight += line.length;
    if (this.#handed.length === 1) this.#begin(run);
    if (this.#task.perJob) this.#retiring = true;
    if (this.#outgoing === '') setImmediate(() => this.#flush());
    this.#outgoing += line;
  }

  #flush(): void {
    if (this.state !== 'ended') this.#spawned.commands.write(this.#outgoing);
    this.#outgoing = '';
  }

  /** Takes back the jobs that have not begun. */
  recall(): void {
    // Jobs in #outgoing are still sent; the child finds them revoked.
    if (this.#handed.length === 0 || this.state === 'ended') return;
    this.#revoked = this.#lastNumber;
    this.#giveBack(this.#spawned.fence.revoke(this.#revoked));
  }

  #giveBack(begun: number): void {
    const first = this.#handed.findIndex(({ number }) => number > begun);
    if (first === -1) return;
    const back = this.#handed.splice(first).map((handed) => this.#unload(handed));
    if (first === 0) this.#next();
    this.#host.returned(this, back);
  }

  #unload({ run, size, files }: Handed): Run {
    this.#weight -= size;
    files?.remove();
    return run;
  }

  /** Stops one of its jobs: takes it back if it has not begun; otherwise asks it to end, and kills after the grace. */
  stop(run: Run, cause: StopCause, detail = ''): void {
    this.recall();
    if (run !== this.head || run.cause !== undefined) return;
    run.cause = cause;
    run.detail = detail;
    this.#graceEndsAt = this.#host.clock.now() + GRACE_MS;
    this.#spawned.commands.write(`${JSON.stringify(['abort', this.#handed[0]?.number, cause])}\n`);
  }

  /** Ends the process at once; the running job ends with this cause. */
  kill(cause: StopCause, detail = ''): void {
    this.#termination ??= { cause, detail };
    if (this.state !== 'ended') killTree(this.pid);
  }

  /** Ends the process after the running job. */
  retire(): void {
    if (this.#retiring || this.state !== 'ready') return;
    this.#retiring = true;
    this.recall();
    if (this.head === undefined) this.kill('closed');
  }

  /** Called when this process was suspended for a while, or the clock was set: that time is not charged to the job. */
  excludeGap(gapMs: number): void {
    this.#startedAt += gapMs;
    this.#graceEndsAt += gapMs;
    this.idleSince += gapMs;
    if (this.head !== undefined) this.head.begunAt += gapMs;
  }

  /** Called at intervals, which bound the precision of deadlines. */
  tick(now: number): void {
    this.#output.tick();
    if (now >= this.#graceEndsAt && this.state !== 'ended') killTree(this.pid);
    const { head } = this;
    if (this.state === 'starting') {
      if (now - this.#startedAt > LOAD_LIMIT_MS) {
        this.#unloadable = { code: 'task-unloadable', message: `it did not load within ${LOAD_LIMIT_MS} ms`, certain: true };
        killTree(this.pid);
      }
      return;
    }
    const number = this.#handed[0]?.number;
    if (head === undefined || number === undefined || this.state === 'ended') return;
    if (this.#spawned.fence.begun() < number) {
      // The child hangs between two jobs, perhaps because of leftovers of one. No job is charged.
      if (now - head.begunAt > BEGIN_LIMIT_MS) this.kill('closed');
    } else if (head.cause === undefined && head.job.timeoutMs > 0 && now - head.begunAt >= head.job.timeoutMs)
      this.stop(head, 'timeout', `${head.job.timeoutMs} ms`);
  }

  #listen(answers: Readable): void {
    const cutter = new LineCutter(MAX_LINE_BYTES);
    answers.on('error', () => {});
    answers.on('data', (chunk: Buffer) => {
      for (const { text, tooLong } of cutter.take(chunk)) {
        if (this.#breach !== '') return;
        if (text === undefined) return this.#breachOf(tooLong ? 'a line without end' : 'bytes that are not UTF-8');
        const line = readChildLine(text);
        if (typeof line === 'string') this.#breachOf(line);
        else this.#take(line, text.length);
      }
    });
  }

  /** Only the task itself can have written it: the process around it never does. */
  #breachOf(what: string): void {
    this.#breach ||= `the task wrote ${what} into the channel of its process`;
    killTree(this.pid);
  }

  #take(line: ChildLine, chars: number): void {
    switch (line[0]) {
      case 'completed':
        this.#settle(line[1], line[2], (run) => run.complete({ state: 'completed', output: line[3], ...line[4] }));
        break;
      case 'failed':
        this.#settle(line[1], line[2], (run) => run.fail(line[3], line[4], line[5], line[6] ?? undefined, line[7] ?? undefined));
        break;
      case 'report':
        if (this.#handed[0]?.number === line[1]) this.#output.take(line[2], chars);
        break;
      case 'back':
        this.#takeBack(line[1]);
        break;
      case 'out':
        // The child waits, so that the next job finds nothing.
        if (takeOut(this.#handed[0], this.workdir, line[1])) this.#spawned.commands.write(`${JSON.stringify(['taken', line[1]])}\n`);
        else this.#breachOf('files of a job that does not run');
        break;
      case 'ready':
        this.#becomeReady();
        break;
      case 'unloadable':
        this.#unloadable ??= { code: 'task-unloadable', message: line[2] === null ? line[1] : wordsOf(line[2]), certain: true };
        break;
      case 'worn':
        this.retire();
        break;
      case 'bye':
        this.#byeCode = line[1];
        // Node 20 can hang during exit.
        this.#graceEndsAt = this.#host.clock.now() + GRACE_MS;
    }
  }

  #becomeReady(): void {
    if (this.state !== 'starting') return;
    this.state = 'ready';
    this.idleSince = this.#host.clock.now();
    this.#host.ready(this);
  }

  #settle(number: number, tookMs: number, settle: (run: Run) => void): void {
    const [head] = this.#handed;
    if (head?.number !== number) {
      this.#breachOf('the end of a job that does not run');
      return;
    }
    this.#handed.shift();
    this.#settledAny = true;
    settle(this.#unload(head));
    this.#next();
    this.#host.freed(this, tookMs);
  }

  #takeBack(number: number): void {
    const index = this.#handed.findIndex((each) => each.number === number);
    const wasRecalled = number <= this.#revoked;
    // If the task itself sent this, its job would run endlessly, without a time limit and without being charged an attempt.
    if (index === -1 ? !wasRecalled : this.#handed[index]?.run.comesBack() === false) this.#breachOf('that a job had not begun');
    if (index === -1 || this.#breach !== '') return;
    // An earlier job has broken the fence: no further job can begin in this process.
    if (!wasRecalled) this.#retiring = true;
    const back = this.#handed.splice(index, 1).map((handed) => this.#unload(handed));
    if (index === 0) this.#next();
    this.#host.returned(this, back);
  }

  #next(): void {
    this.#graceEndsAt = Number.POSITIVE_INFINITY;
    const next = this.#handed[0];
    if (next !== undefined) this.#begin(next.run);
    else if (this.#retiring) this.kill('closed');
    else this.idleSince = this.#host.clock.now();
  }

  /** At this point it has at least been asked to begin. */
  #begin(run: Run): void {
    run.begin(this.#host.clock.now());
    this.#network?.forgetReported();
  }

  /** Replies may still be in the pipe; #conclude runs after them. */
  #exited(): void {
    this.state = 'ended';
    this.#output.release();
  }

  #conclude(exit: Exit): void {
    this.state = 'ended';
    const lastWords = { breach: this.#breach, sawOutOfMemory: this.#output.sawOutOfMemory, byeCode: this.#byeCode };
    const ending = determineEnding(exit, lastWords, { tier: this.#host.sandbox.tier, memoryMb: this.#host.memoryMb });
    const [head] = this.#handed;
    if (head !== undefined && head.number <= exit.begun) {
      this.#handed.shift();
      if (this.#termination !== undefined) head.run.stop(this.#termination.cause, this.#termination.detail);
      else if (head.run.cause !== undefined) head.run.stop(head.run.cause);
      else head.run.fail(ending.code, ending.message);
    }
    this.#giveBack(0);
    const diedUnused = this.#termination === undefined && !this.#settledAny && exit.begun === 0;
    this.#host.ended(this, diedUnused ? (this.#unloadable ?? startupCrash(ending, this.#byeCode)) : undefined);
  }
}
