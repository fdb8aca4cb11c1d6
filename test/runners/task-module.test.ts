import { type StdioOptions, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { Clock } from '../../src/clock.js';
import { systemClock } from '../../src/clock.js';
import { PeerworkError } from '../../src/errors.js';
import type { Json, Outcome, Progress } from '../../src/job/job.js';
import type { Workplace } from '../../src/job/runner.js';
import type { TaskModuleOptions } from '../../src/runners/task-module/options.js';
import { TaskModuleRunner } from '../../src/runners/task-module/task-module-runner.js';
import { removeFolder } from '../lab/remove-folder.js';
import { requireThat, requireTools } from '../lab/require.js';
import { until } from '../lab/until.js';

const fixtures = fileURLToPath(new URL('../../../test/fixtures/task-module', import.meta.url));
process.env['PEERWORK_TEST_SECRET'] = 'do-not-show-this';

interface RunWish {
  readonly workplace?: Workplace;
  readonly id?: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly reports?: Progress[];
}

/** A runner for one test, with helpers for running the fixture `attacks.cjs`. */
class Stage {
  readonly runner: TaskModuleRunner;
  readonly folder: string;
  readonly attacks: Workplace;

  static async set(t: Test, options: Partial<TaskModuleOptions> = {}): Promise<Stage> {
    const folder = await realpath(await mkdtemp(join(tmpdir(), 'peerwork-task-module-')));
    t.teardown(() => removeFolder(folder));
    await cp(fixtures, join(folder, 'task'), { recursive: true });
    await writeFile(join(folder, 'task/broken.cjs'), 'module.exports = (;');
    const runner = await TaskModuleRunner.start({ concurrency: 1, memoryMb: 192, scratchFolder: join(folder, 'scratch'), ...options });
    t.teardown(() => runner.close());
    return new Stage(runner, folder);
  }

  private constructor(runner: TaskModuleRunner, folder: string) {
    this.runner = runner;
    this.folder = folder;
    this.attacks = this.place('attacks.cjs');
  }

  place(entry: string, digest = entry): Workplace {
    const folder = join(this.folder, 'task');
    return { digest, folder, entry, readable: [folder] };
  }

  /** Publishes the attacks again, as a task with this task.json. */
  async settle(settings: Json): Promise<Workplace> {
    const digest = JSON.stringify(settings);
    const folder = join(this.folder, `task-${createHash('sha256').update(digest).digest('hex').slice(0, 8)}`);
    await cp(fixtures, folder, { recursive: true });
    await writeFile(join(folder, 'task.json'), digest);
    return { digest, folder, entry: 'attacks.cjs', readable: [folder] };
  }

  run(data: Json, wish: RunWish = {}): Promise<Outcome> {
    return this.runner.run(
      { id: wish.id ?? 'a-job', channel: 'default', data, attempt: 1, timeoutMs: wish.timeoutMs ?? 20_000 },
      {
        workplace: wish.workplace ?? this.attacks,
        signal: wish.signal ?? new AbortController().signal,
        report: (progress) => wish.reports?.push(progress),
      },
    );
  }

  do(attack: string, more: { readonly [name: string]: Json } = {}, wish: RunWish = {}): Promise<Outcome> {
    return this.run({ do: attack, ...more }, wish);
  }

  /** Makes the runner learn that these jobs are short, so that it queues them ahead. */
  async warm(): Promise<void> {
    for (let i = 0; i < 30; i += 1) await this.do('echo', { value: i });
  }
}

/** Returns every descendant of this process. */
async function processesBelow(pid = process.pid): Promise<number[]> {
  const found: number[] = [];
  for (const task of await readdir(`/proc/${pid}/task`).catch(() => [])) {
    const children = await readFile(`/proc/${pid}/task/${task}/children`, 'utf8').catch(() => '');
    for (const child of children.split(' ').filter(Boolean).map(Number)) found.push(child, ...(await processesBelow(child)));
  }
  return found;
}

function failure(outcome: Outcome): { code: string; message: string; retry: boolean } {
  if (outcome.state !== 'failed') return { code: outcome.state, message: JSON.stringify(outcome), retry: false };
  const { code, message } = outcome.error;
  return { code, message, retry: outcome.retry };
}

const lines = (reports: readonly Progress[]) => reports.flatMap((report) => (report.kind === 'log' ? [report.line] : []));
const completed = (output: Json): Outcome => ({ state: 'completed', output });

/** Resolves once all of them are gone: init may need a moment to reap them. */
async function allGone(pids: readonly number[]): Promise<void> {
  for (const pid of pids) {
    await until(async () => (await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z')).split(') ')[1]?.startsWith('Z') !== false);
  }
}

const moment = (ms = 20) => new Promise((resolve) => setTimeout(resolve, ms));

t.test('a task may be a function or a class, CommonJS or ESM', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off', concurrency: 1 });
  t.strictSame(await stage.run('you', { workplace: stage.place('hello.cjs') }), completed({ text: 'hello you', id: 'a-job', made: 1 }));
  t.strictSame(await stage.run('me', { workplace: stage.place('hello.cjs') }), completed({ text: 'hello me', id: 'a-job', made: 1 }));
  t.strictSame(await stage.run('you', { workplace: stage.place('modern.mjs') }), completed(['hello you', 'hello you', true]));
  t.strictSame(await stage.run([1], { workplace: stage.place('class.mjs'), id: 'x' }), completed([[1], 'x']));
  t.strictSame(await stage.do('tells context', {}, { id: 'j-1' }), completed({ jobId: 'j-1', attempt: 1, data: { do: 'tells context' } }));
});

t.test('a task that cannot be loaded fails its jobs for good, and all that wait', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off', concurrency: 2 });
  for (const [entry, message] of [
    ['broken.cjs', /SyntaxError/],
    ['no-task.cjs', /must export/],
    ['missing.cjs', /missing\.cjs/],
    ['exits.cjs', /code 3/],
  ] as const) {
    const workplace = stage.place(entry);
    for (const outcome of await Promise.all([1, 2, 3].map((data) => stage.run(data, { workplace })))) {
      const { code, message: actual, retry } = failure(outcome);
      t.equal(code, 'task-unloadable', entry);
      t.match(actual, message);
      t.equal(retry, false);
    }
  }
  t.strictSame(await stage.do('echo', { value: 1 }), completed(1), 'others go on');
});

t.test('what a task returns is sent as JSON, or refused with the place and the reason', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  const refused: [string, RegExp][] = [
    ['returns bigint', /output\.list\[0\]\.n is a BigInt/],
    ['returns cycle', /refers to itself/],
    ['returns function', /output\.then2 is a function/],
    ['returns symbol', /symbol/],
    ['returns map', /output\.counts is a Map/],
    ['returns buffer', /base64/],
    ['returns headers', /output\.response\.headers is a Headers; use Object\.fromEntries\(value\)/],
    ['returns query', /output\[0\] is a URLSearchParams; use Object/],
    ['returns response', /output is a Response; return a plain object/],
    ['returns hidden', /output\.account is a Account; return a plain object/],
    ['returns nan', /output\.mean\[1\] is NaN; use null/],
    ['returns infinity', /output\.most is -Infinity/],
    ['returns gap', /output\.list\[1\] is undefined; use null/],
    ['returns hole', /output\[1\] is undefined/],
    ['returns no date', /output\.at is an invalid Date/],
  ];
  for (const [attack, message] of refused) {
    const { code, message: actual, retry } = failure(await stage.do(attack));
    t.equal(code, 'output-unsendable', attack);
    t.match(actual, message);
    t.equal(retry, false);
  }
  t.equal(failure(await stage.do('returns too much')).code, 'output-too-large');
  t.strictSame(await stage.do('returns much'), completed('é'.repeat(3 * 1024 * 1024)));
  t.strictSame(await stage.do('returns nothing'), completed(null));
  t.strictSame(
    await stage.do('returns kept'),
    completed({ none: {}, zero: 0, fields: { x: 1 }, big: '12345678901234567890', other: { a: {} } }),
  );
  t.match(failure(await stage.do('progress nan')), { code: 'task-threw', message: /progress\.done is NaN/ });
  t.match(failure(await stage.do('spawns map')), { code: 'task-threw', message: /children\[1\]\.data is a Map/ });
  t.strictSame(await stage.do('returns date'), completed({ at: '1970-01-01T00:00:00.000Z' }));
});

t.test('what a task throws becomes its outcome, the stack its log', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  const reports: Progress[] = [];
  t.strictSame(failure(await stage.do('throws', {}, { reports })), { code: 'task-threw', message: 'on purpose', retry: true });
  t.match(lines(reports).join('\n'), /Error: on purpose\n.*attacks\.cjs/);
  t.strictSame(failure(await stage.do('rejects')), { code: 'task-threw', message: 'TypeError: no such page [E_PAGE]', retry: true });
  t.strictSame(failure(await stage.do('throws for good')), { code: 'task-threw', message: 'never works', retry: false });
  t.equal(failure(await stage.do('throws a trap')).code, 'task-threw');
  t.equal(failure(await stage.do('throws nothing')).code, 'task-threw');
});

t.test('what is thrown is told with its code, its stack, its causes and its parts, bounded, whatever it is made of', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  const error = async (name: string) => {
    const outcome = await stage.do(name);
    if (outcome.state !== 'failed') throw new Error(outcome.state);
    return outcome.error;
  };
  const refused = (host: string) => ({ name: 'Error', message: `connect ECONNREFUSED ${host}`, code: 'ECONNREFUSED' });
  t.match(await error('throws with causes'), {
    code: 'task-threw',
    message: 'TypeError: fetch failed: AggregateError [ECONNREFUSED] (connect ECONNREFUSED ::1:9; connect ECONNREFUSED 127.0.0.1:9)',
    cause: {
      name: 'TypeError',
      message: 'fetch failed',
      stack: /^TypeError: fetch failed\n.*attacks\.cjs/,
      cause: { name: 'AggregateError', code: 'ECONNREFUSED', parts: [refused('::1:9'), refused('127.0.0.1:9')] },
    },
  });
  t.match(await error('rejects'), { cause: { name: 'TypeError', message: 'no such page', code: 'E_PAGE' } });
  const ring = await error('throws a ring');
  t.match(ring.message, /^r{4096}/);
  t.ok(JSON.stringify(ring).length < 40_000, `${JSON.stringify(ring).length}`);
  t.match(await error('throws traps within'), {
    message: /^outside \(.*; 5; text; RangeError: inside\)/,
    cause: { parts: [{}, { message: '5' }, { message: 'text' }, { name: 'RangeError', message: 'inside' }] },
  });
  t.match(await error('throws a trap'), { message: 'something that cannot be shown' });
});

t.test('progress and log lines arrive in order and before the outcome', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  const reports: Progress[] = [];
  t.strictSame(await stage.do('speaks', {}, { reports }), completed(1));
  t.strictSame(reports, [
    { kind: 'log', stream: 'stdout', line: 'to stdout' },
    { kind: 'log', stream: 'stderr', line: 'to stderr' },
    { kind: 'log', stream: 'log', line: 'to log { a: 1 }' },
    { kind: 'progress', value: 0.5 },
    { kind: 'progress', value: { step: 2 } },
    { kind: 'log', stream: 'stdout', line: 'no end' },
  ]);
  const before: Progress[] = [];
  t.equal(failure(await stage.do('speaks and hangs', {}, { reports: before, timeoutMs: 200 })).code, 'timeout');
  t.strictSame(lines(before), ['before 0', 'before 1', 'before 2', 'before 3', 'before 4'], 'lines before a loop are not lost');
});

t.test('dependencies are found through the workplace', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  const layer = join(stage.folder, 'layer');
  await mkdir(join(layer, 'node_modules/a-dependency'), { recursive: true });
  await writeFile(join(layer, 'node_modules/a-dependency/package.json'), '{"name":"a-dependency","main":"main.js"}');
  await writeFile(join(layer, 'node_modules/a-dependency/main.js'), 'module.exports = "found"');
  await symlink(join(layer, 'node_modules'), join(stage.folder, 'task/node_modules'));
  const workplace = stage.place('uses-dependency.cjs');
  const readable = [...workplace.readable, layer];
  t.strictSame(await stage.run(1, { workplace: { ...workplace, readable } }), completed(['found', 'found']));
});

t.test('jobs handed ahead survive the end of the one before them', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off', concurrency: 2 });
  await stage.warm();
  for (const [attack, code] of [
    ['exits', 'exited'],
    ['loops', 'timeout'],
    ['kills itself', 'crashed'],
    ['rejects aside', 'task-threw'],
  ] as const) {
    const reports: Progress[] = [];
    const outcomes = await Promise.all(
      Array.from({ length: 120 }, (_, i) =>
        i % 40 === 20
          ? stage.do(attack, {}, { timeoutMs: 300 })
          : stage.do('logs once', { value: i }, { id: `j-${i}`, reports, timeoutMs: 20_000 }),
      ),
    );
    t.equal(outcomes.filter((outcome) => failure(outcome).code === code).length, 3, `${attack}: ${code}`);
    t.equal(outcomes.filter((outcome) => outcome.state === 'completed').length, 117, 'no other is blamed');
    t.equal(new Set(lines(reports)).size, 117);
    t.equal(reports.length, 117, 'each ran once');
  }
});

t.test('short jobs do not wait behind a long one while another process is free', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off', concurrency: 2 });
  await stage.warm();
  const ended: string[] = [];
  const long = stage.do('loops', {}, { timeoutMs: 2_500 }).then(() => ended.push('long'));
  const short = Array.from({ length: 100 }, (_, i) => stage.do('echo', { value: i }).then(() => ended.push('short')));
  await Promise.all([long, ...short]);
  t.equal(ended.at(-1), 'long');
});

t.test('cancel: running jobs end by themselves or are killed, waiting ones never start', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  const stop = new AbortController();
  const reports: Progress[] = [];
  const polite = stage.do('waits', {}, { signal: stop.signal });
  const waiting = stage.do('logs once', { value: 1 }, { signal: stop.signal, reports });
  const other = stage.do('process id');
  setTimeout(() => stop.abort(), 200);
  t.equal(failure(await polite).code, 'cancelled');
  t.equal(failure(await polite).retry, false);
  t.equal(failure(await waiting).code, 'cancelled');
  t.strictSame(reports, []);
  const first = await other;
  t.equal(first.state, 'completed');
  const ignoring = new AbortController();
  const reported: Progress[] = [];
  const looping = stage.do('speaks and hangs', {}, { signal: ignoring.signal, reports: reported });
  await until(() => reported.length > 0);
  ignoring.abort();
  t.equal(failure(await looping).code, 'cancelled');
  t.notSame(await stage.do('process id'), first, 'the deaf process was killed');
  t.equal(failure(await stage.do('echo', {}, { signal: AbortSignal.abort() })).code, 'cancelled');
});

t.test('a job that listens to its signal keeps its process at a timeout', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  const before = await stage.do('process id');
  t.equal(failure(await stage.do('waits', {}, { timeoutMs: 100 })).code, 'timeout');
  t.strictSame(await stage.do('process id'), before);
});

t.test('a process that others have filled is replaced before it fails a job', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  const processes = new Set<Json>();
  for (let i = 0; i < 14; i += 1) {
    const outcome = await stage.do('leaks');
    if (outcome.state === 'completed') processes.add(outcome.output);
    else t.fail(failure(outcome).message);
  }
  t.ok(processes.size > 1);
});

t.test('a process that hangs between two jobs is replaced, and the next job not blamed', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  t.strictSame(await stage.do('loops later'), completed('done'));
  await moment(200);
  t.strictSame(await stage.do('echo', { value: 1 }, { timeoutMs: 2_000 }), completed(1));
});

t.test('a new version gets its own process while the old one finishes', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  const old = stage.do('sleeps', { ms: 300 }, { workplace: stage.place('attacks.cjs', 'old') });
  const fresh = stage.do('echo', { value: 2 }, { workplace: stage.place('attacks.cjs', 'new') });
  t.strictSame(await old, completed(300));
  t.strictSame(await fresh, completed(2));
});

t.test('no task waits for ever while another has work without end', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  let more = true;
  let done = 0;
  const one = stage.place('attacks.cjs', 'one');
  const stream = Array.from({ length: 20 }, async () => {
    while (more) if ((await stage.do('sleeps', { ms: 5 }, { workplace: one })).state === 'completed') done += 1;
  });
  await moment(300);
  const two = stage.place('attacks.cjs', 'two');
  t.strictSame(await stage.do('echo', { value: 1 }, { workplace: two }), completed(1));
  const before = done;
  await until(() => done !== before);
  t.pass('the first goes on');
  more = false;
  await Promise.all(stream);
});

t.test('whatever comes in whatever order, each job ends once and as it should', async (t) => {
  const stage = await Stage.set(t, { concurrency: 2 });
  const places = ['one', 'two', 'three'].map((digest) => stage.place('attacks.cjs', digest));
  // A linear congruential generator: the same order in every run.
  let seed = 20_261_122;
  const chance = (of: number) => {
    seed = (seed * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return Math.floor((seed / 2 ** 32) * of);
  };
  const kinds: readonly [attack: string, ends: readonly string[], weight: number][] = [
    ['echo', ['completed'], 60],
    ['sleeps', ['completed'], 10],
    ['throws', ['task-threw'], 10],
    ['exits', ['exited'], 2],
    ['kills itself', ['crashed'], 2],
    ['rejects aside', ['task-threw'], 2],
    ['loops', ['timeout'], 1],
    ['waits', ['cancelled'], 5],
  ];
  const bag = kinds.flatMap((kind) => new Array<typeof kind>(kind[2]).fill(kind));
  const job = async (index: number) => {
    await moment(chance(800));
    const [attack, ends] = bag[chance(bag.length)] ?? ['echo', ['completed']];
    const stop = new AbortController();
    const workplace = places[chance(10) < 8 ? 0 : 1 + chance(2)] ?? stage.attacks;
    if (attack === 'waits') setTimeout(() => stop.abort(), chance(400));
    const timeoutMs = attack === 'loops' ? 100 : 60_000;
    const outcome = await stage.do(attack, { value: index, ms: chance(20) }, { workplace, timeoutMs, signal: stop.signal });
    const { code } = failure(outcome);
    if (!ends.includes(code)) t.fail(`${attack} ended as ${code}`);
    if (attack === 'echo' && outcome.state === 'completed' && outcome.output !== index) t.fail('the output of another job');
    return 1;
  };
  const ended = await Promise.all(Array.from({ length: 200 }, (_, index) => job(index)));
  t.equal(ended.length, 200);
});

t.test('processes start when they are needed, and idle ones end, but for the last', async (t) => {
  const before = (await processesBelow()).length;
  const stage = await Stage.set(t, { sandbox: 'off', concurrency: 3, warmMs: 300 });
  t.equal((await processesBelow()).length, before, 'none without a job');
  await Promise.all([1, 2, 3].map((ms) => stage.do('sleeps', { ms: 500 + ms })));
  await until(async () => (await processesBelow()).length <= before + 1);
  await moment(1_500);
  t.equal((await processesBelow()).length, before + 1);
});

t.test('close releases what runs and waits, and leaves neither process nor file', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off', concurrency: 2 });
  const before = new Set(await processesBelow());
  const jobs = [stage.do('loops'), stage.do('sleeps', { ms: 60_000 }), stage.do('echo', { value: 1 })];
  await until(async () => (await processesBelow()).filter((pid) => !before.has(pid)).length >= 2);
  const mine = (await processesBelow()).filter((pid) => !before.has(pid));
  await moment(200);
  await stage.runner.close();
  for (const job of jobs) t.strictSame(await job, { state: 'released', reason: 'the worker stopped' });
  await allGone(mine);
  t.pass('no process is left');
  t.strictSame(await readdir(join(stage.folder, 'scratch')), []);
  t.equal((await stage.do('echo')).state, 'released');
});

t.test('without bubblewrap: auto says so, required refuses, and so does a denied network', async (t) => {
  const scratchFolder = t.testdir();
  const bubblewrap = join(scratchFolder, 'no-bwrap');
  const start = (options: Partial<TaskModuleOptions>) => TaskModuleRunner.start({ concurrency: 1, scratchFolder, bubblewrap, ...options });
  const runner = await start({ sandbox: 'auto' });
  t.teardown(() => runner.close());
  t.match(runner.isolation, /own process.*no wall against malicious code \(bubblewrap: not installed\)/);
  t.ok(runner.isolation.length <= 200, 'fits into what a worker tells of itself');
  const refusal = (options: Partial<TaskModuleOptions>) =>
    start(options).then(
      () => 'started',
      (thrown: unknown) => (thrown instanceof PeerworkError ? thrown.code : 'another error'),
    );
  t.equal(await refusal({ sandbox: 'required' }), 'sandbox-missing');
  const nodeDenies = Number(process.versions.node.split('.')[0]) >= 25;
  t.equal(await refusal({ sandbox: 'auto', network: 'none' }), nodeDenies ? 'started' : 'sandbox-missing');
  t.equal(await refusal({ sandbox: 'auto', network: ['10.1.2.3:80'] }), 'sandbox-missing', 'single hosts cannot be held by Node alone');
  t.match(runner.isolation, /network not held/);
});

/**
 * Returns a program that runs one job of `attacks.cjs` and prints its outcome, for attacks that cannot be run against the test process
 * itself.
 */
function workerProgram(folder: string, sandbox: string, attack: string): string {
  const module = new URL('../../src/runners/task-module/task-module-runner.js', import.meta.url).href;
  return `
    import { TaskModuleRunner } from ${JSON.stringify(module)};
    const runner = await TaskModuleRunner.start({ concurrency: 1, scratchFolder: ${JSON.stringify(folder)}, sandbox: '${sandbox}' });
    const workplace = { digest: 'd', folder: ${JSON.stringify(fixtures)}, entry: 'attacks.cjs', readable: [] };
    const job = { id: 'j', channel: 'default', data: { do: '${attack}' }, attempt: 1, timeoutMs: 0 };
    const say = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
    say(await runner.run(job, { workplace, signal: new AbortController().signal, report: say }));
    await runner.close();`;
}

for (const sandbox of ['off', 'auto'] as const) {
  t.test(`a worker that is killed takes its jobs along, even one that never returns: sandbox ${sandbox}`, async (t) => {
    if (!requireTools(t, { setpriv: 'util-linux' })) return;
    const folder = t.testdir();
    const program = workerProgram(folder, sandbox, 'speaks and hangs');
    const worker = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => worker.kill('SIGKILL'));
    await once(worker.stdout, 'data');
    const below = await processesBelow(worker.pid);
    t.ok(below.length > 0);
    const ended = once(worker, 'exit');
    worker.kill('SIGKILL');
    await allGone(below);
    t.pass('no process is left');
    // Until it is reaped its pid looks alive, and its leftovers seem to be in use.
    await ended;
    t.equal((await readdir(folder)).length, 1);
    const next = await TaskModuleRunner.start({ concurrency: 1, scratchFolder: folder, sandbox });
    await next.close();
    t.strictSame(await readdir(folder), [], 'the next worker removes what is left on disk');
  });

  t.test(`what the worker has open stays its own: sandbox ${sandbox}`, async (t) => {
    const folder = t.testdir({ secret: 'private' });
    const program = workerProgram(folder, sandbox, 'reads descriptors');
    const secret = openSync(join(folder, 'secret'), 'r');
    t.teardown(() => closeSync(secret));
    // Like descriptors that native modules open: inherited by child processes. (Node would mark lower numbers without a gap.)
    const stdio: StdioOptions = ['ignore', 'pipe', 'inherit', ...new Array(57).fill('ignore'), secret, secret];
    const worker = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio });
    t.teardown(() => worker.kill('SIGKILL'));
    let actual = '';
    worker.stdout?.on('data', (chunk) => {
      actual += chunk;
    });
    await once(worker, 'close');
    t.strictSame(JSON.parse(actual), completed([]));
  });
}

t.test('time in which the machine slept is not charged to a job', async (t) => {
  let ahead = 0;
  const clock: Clock = { ...systemClock, now: () => systemClock.now() + ahead };
  const stage = await Stage.set(t, { sandbox: 'off', clock });
  const job = stage.do('sleeps', { ms: 500 }, { timeoutMs: 10_000 });
  await moment(300);
  ahead = 3_600_000;
  t.strictSame(await job, completed(500));
});

for (const sandbox of ['off', 'required'] as const) {
  t.test(`attacks harm neither the worker nor other jobs: sandbox ${sandbox}`, async (t) => {
    if (sandbox === 'required') {
      if (!requireTools(t, { bwrap: 'bubblewrap' })) return;
      const works = await TaskModuleRunner.start({ concurrency: 1, scratchFolder: t.testdir(), sandbox }).then(
        (runner) => runner.close().then(() => true),
        () => false,
      );
      if (!requireThat(t, works, 'bubblewrap is not allowed to make namespaces here')) return;
    }
    const stage = await Stage.set(t, { sandbox, concurrency: 2, scratchMb: 16 });
    t.match(stage.runner.isolation, sandbox === 'off' ? /permission model/ : /bubblewrap/);
    const outside = join(stage.folder, 'outside');
    await writeFile(outside, 'private');

    /** Runs the attack next to an innocent job, and another job after it. */
    const attack = async (name: string, data: { readonly [name: string]: Json } = {}, wish: RunWish = {}) => {
      const [outcome, beside] = await Promise.all([stage.do(name, data, wish), stage.do('sleeps', { ms: 30 })]);
      t.strictSame(beside, completed(30), `${name}: the job beside it`);
      t.strictSame(await stage.do('echo', { value: name }), completed(name), `${name}: the job after it`);
      return outcome;
    };
    const ends = async (name: string, code: string, message: RegExp, data = {}, wish: RunWish = {}) => {
      const { code: got, message: actual } = failure(await attack(name, data, wish));
      t.equal(got, code, name);
      t.match(actual, message, name);
    };

    await ends('loops', 'timeout', /300 ms/, {}, { timeoutMs: 300 });
    await ends('ignores SIGTERM', 'timeout', /300 ms/, {}, { timeoutMs: 300 });
    await ends('exits', 'exited', /code 7/);
    await ends('aborts', 'crashed', /SIG(ABRT|ILL|SEGV|TRAP)/);
    await ends('kills itself', 'crashed', /SIGKILL/);
    await ends('throws later', 'crashed', /uncaught exception: too late/);
    await ends('rejects aside', 'task-threw', /nobody cares/);
    await ends('fills the heap', 'memory', /192 MiB/);
    await ends('fills buffers', 'memory', /192 MiB|allocation failed/);
    await ends('forks', 'task-threw', /ERR_ACCESS_DENIED/);
    await ends('starts a thread', 'task-threw', /ERR_ACCESS_DENIED/);
    await ends('loads an addon', 'task-threw', /ERR_DLOPEN_DISABLED/);
    await ends('writes outside', 'task-threw', /ERR_ACCESS_DENIED|EROFS|ENOENT/, { path: outside });
    await ends('reads outside', 'task-threw', /ERR_ACCESS_DENIED|ENOENT/, { path: outside });
    await ends('reads outside', 'task-threw', /ERR_ACCESS_DENIED|ENOENT/, { path: '/etc/passwd' });
    await ends('reads outside', 'task-threw', /ERR_ACCESS_DENIED|ENOENT/, { path: `/proc/${process.pid}/environ` });
    await ends('links outside', 'task-threw', /ERR_ACCESS_DENIED|ENOENT/, { path: outside });
    await ends('fills the disk', 'scratch-too-large', /16 MiB/);
    await ends('writes nonsense', 'crashed', /wrote a line that cannot be read/);
    await ends('writes without end', 'crashed', /wrote a line without end/);
    t.equal(await readFile(outside, 'utf8'), 'private');

    await attack('kills its parent', { pid: process.pid });
    t.pass('the worker lives');

    const shown = await attack('shows environment');
    t.equal(shown.state, 'completed');
    t.notMatch(JSON.stringify(shown), /do-not-show-this|PEERWORK|PATH"/);

    t.strictSame(await attack('leaves files'), completed({ inside: true }));
    for (let i = 0; i < 3; i += 1) t.strictSame(await stage.do('lists files'), completed([]), 'the folder is empty again');

    for (const flood of ['floods console', 'floods raw']) {
      const reports: Progress[] = [];
      t.strictSame(await attack(flood, { lines: 50_000 }, { reports }), completed('done'));
      t.ok(reports.length > 100 && reports.length < 2_000, `${flood}: ${reports.length} reports`);
      t.match(lines(reports).join('\n'), /\(\d+ lines were dropped/);
      t.ok(lines(reports).every((line) => line.length <= 8 * 1024));
    }

    const mine = await processesBelow();
    await stage.runner.close();
    t.ok(mine.length > 0);
    await allGone(mine);
    t.pass('no process is left');
  });
}

t.test('the network of a task: as its task.json asks, no further than the owner allows', async (t) => {
  const server = createServer((_, response) => response.end('from the LAN')).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}/`;
  const plain = await Stage.set(t, { sandbox: 'off' });
  t.strictSame(await plain.do('fetches', { url }), completed('from the LAN'), 'in the tier process the network is not held');
  const narrow = await plain.settle({ network: 'none' });
  const reports: Progress[] = [];
  await plain.do('fetches', { url }, { workplace: narrow, reports });
  t.match(lines(reports).join(), 'cannot hold', 'and who asks for less is told so');

  const stage = await Stage.set(t, { sandbox: 'auto', network: ['internet', `127.0.0.1:${port}`] });
  if (!requireThat(t, stage.runner.isolation.startsWith('bubblewrap'), 'no bubblewrap')) return;
  t.match(
    failure(await stage.do('fetches', { url })),
    { code: 'task-threw', message: /network-denied/ },
    'without a wish nothing but the internet',
  );
  t.strictSame(await stage.do('fetches', { url }, { workplace: await stage.settle({ network: 'lan' }) }), completed('from the LAN'));
  const listed = await stage.settle({ network: [`127.0.0.1:${port}`] });
  t.strictSame(await stage.do('fetches', { url }, { workplace: listed }), completed('from the LAN'));
  t.match(
    failure(await stage.do('fetches', { url: 'http://127.0.0.1:4444/' }, { workplace: listed })).message,
    /network-denied.*task\.json/,
  );
  t.match(failure(await stage.do('fetches', { url }, { workplace: narrow })).message, /network-denied.*task\.json/);
  const none = await Stage.set(t, { sandbox: 'auto', network: 'none' });
  t.match(
    failure(await none.do('fetches', { url }, { workplace: await none.settle({ network: 'lan' }) })).message,
    /network-denied.*owner/,
  );
});

t.test('settings that a task.json cannot have are refused with their place', async (t) => {
  const stage = await Stage.set(t, { sandbox: 'off' });
  const code = async (settings: Json) => {
    const { code, message } = failure(await stage.do('echo', {}, { workplace: await stage.settle(settings) }));
    return `${code} ${message}`;
  };
  t.match(await code({ networks: 'none' }), /task-settings-invalid.*task\.json: networks: no setting has this name/);
  t.match(await code({ network: 'all' }), /task-settings-invalid.*task\.json: network: must be/);
  t.match(await code({ network: ['nas'] }), /task-settings-invalid.*network/, 'a word that may be a mistake');
  t.match(await code({ process: 'own' }), /task-settings-invalid.*process/);
  t.match(await code([]), /task-settings-invalid/);
});

for (const sandbox of ['off', 'auto'] as const) {
  t.test(`"process": "per-job" gives each job a fresh process: sandbox ${sandbox}`, async (t) => {
    const stage = await Stage.set(t, { sandbox, concurrency: 2 });
    const workplace = await stage.settle({ process: 'per-job' });
    const jobs = Array.from({ length: 6 }, () => stage.do('counts', {}, { workplace }));
    for (const outcome of await Promise.all(jobs)) t.strictSame(outcome, completed(1), 'nothing of another job is there');
    const shared = [await stage.do('counts'), await stage.do('counts')];
    t.strictSame(shared, [completed(1), completed(2)], 'others go on sharing');
  });
}
