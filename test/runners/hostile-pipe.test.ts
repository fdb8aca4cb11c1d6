import { cp, mkdtemp, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { Json, Outcome, Progress } from '../../src/job/job.js';
import { MAX_PROGRESS_BYTES } from '../../src/job/limits.js';
import { RawOutput } from '../../src/runners/task-module/raw-output.js';
import { readChildLine } from '../../src/runners/task-module/read-child-line.js';
import { TaskModuleRunner } from '../../src/runners/task-module/task-module-runner.js';
import { removeFolder } from '../lab/remove-folder.js';

const fixtures = fileURLToPath(new URL('../../../test/fixtures/task-module', import.meta.url));
const lists = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);

async function stage(t: Test) {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'peerwork-pipe-')));
  t.teardown(() => removeFolder(folder));
  await cp(fixtures, join(folder, 'task'), { recursive: true });
  const runner = await TaskModuleRunner.start({ concurrency: 1, memoryMb: 256, scratchFolder: join(folder, 'scratch') });
  t.teardown(() => runner.close());
  const workplace = { digest: 'pipe', folder: join(folder, 'task'), entry: 'pipe.cjs', readable: [join(folder, 'task')] };
  const reports: Progress[] = [];
  const run = (data: Json, timeoutMs = 60_000): Promise<Outcome> =>
    runner.run(
      { id: 'a-job', channel: 'default', data, attempt: 1, timeoutMs },
      { workplace, signal: new AbortController().signal, report: (progress) => reports.push(progress) },
    );
  return { run, reports };
}

t.test('a line that is nested too deep fails its job, and the Worker lives', async (t) => {
  const { run } = await stage(t);
  for (const depth of [4_400, 8_000, 200_000, 3_000_000])
    for (const as of ['output', 'progress', 'children', 'error']) {
      const outcome = await run({ as, depth });
      t.match(
        outcome,
        { state: 'failed', error: { code: 'crashed', message: /nested more than 504 deep|a line (without end|that cannot be read)/ } },
        `${as}, ${depth}`,
      );
    }
  t.match(await run({ as: 'output', depth: 500 }), { state: 'completed' }, 'what is allowed goes on');
  t.match(await run({ as: 'output', depth: 501 }), { state: 'failed', error: { code: 'output-unsendable' }, retry: false });
  t.match(await run({ as: 'large output' }), { state: 'failed', error: { code: 'output-too-large' }, retry: false });
  t.match(await run({ as: 'many' }), { state: 'failed', error: { message: /values in the JSON/ } });
});

t.test('a job that says that it has not begun is not run for ever', async (t) => {
  const { run } = await stage(t);
  t.match(await run({ as: 'back' }), { state: 'failed', error: { code: 'crashed', message: /that a job had not begun/ } });
  t.match(await run({ as: 'back when stopped' }, 100), { state: 'failed', error: { code: 'timeout' } });
  t.match(await run({}), { state: 'completed', output: 'stayed' }, 'the next one runs');
});

t.test('a job that spoils what says which jobs have begun does not fail those behind it', async (t) => {
  const { run } = await stage(t);
  t.match(await run({}), { state: 'completed' }, 'a process is warm');
  const outcomes = await Promise.all([run({ as: 'spoiled fence' }), run({}), run({}), run({})]);
  t.match(
    outcomes,
    ['spoiled', 'stayed', 'stayed', 'stayed'].map((output) => ({ state: 'completed', output })),
  );
});

t.test('data that no text can be made of fails its job, and nothing else', async (t) => {
  const { run } = await stage(t);
  t.match(await run(JSON.parse(lists(200_000)) as Json), { state: 'failed', error: { code: 'job-invalid' }, retry: false });
  t.match(await run({}), { state: 'completed', output: 'stayed' });
});

t.test('progress beyond its limit is dropped and told of', async (t) => {
  const { run, reports } = await stage(t);
  t.match(await run({ as: 'large progress', times: 20 }), { state: 'completed', output: 'done' });
  t.notOk(
    reports.some((report) => report.kind === 'progress'),
    'none got through',
  );
  t.ok(reports.some((report) => report.kind === 'log' && /progress value was dropped/.test(report.line)));
});

t.test('a pipe that is flooded with reports is not read for a while', async (t) => {
  const answers = new PassThrough();
  const reported: Progress[] = [];
  const output = new RawOutput(
    [null, null],
    answers,
    () => 0,
    (progress) => reported.push(progress),
  );
  const value = 'x'.repeat(MAX_PROGRESS_BYTES - 2);
  output.take([{ kind: 'progress', value }], value.length + 100);
  t.equal(reported.length, 1, 'what just fits is told');
  output.take([{ kind: 'progress', value: `${value}y` }], value.length + 101);
  t.match(reported.slice(1), [{ kind: 'log', line: /dropped/ }]);
  t.notOk(answers.isPaused());
  for (let times = 0; times < 40; times += 1) output.take([{ kind: 'progress', value }], value.length + 100);
  t.ok(answers.isPaused(), 'beyond 2 MiB between two ticks');
  output.tick();
  t.notOk(answers.isPaused());
});

t.test('lines at the limits', async (t) => {
  const line = (output: string) => readChildLine(`["completed",1,2,${output}]`);
  t.same(line(lists(500)), ['completed', 1, 2, JSON.parse(lists(500))]);
  for (const depth of [501, 502, 503]) t.match(line(lists(depth)), ['failed', 1, 2, 'output-unsendable', /500 deep/, false]);
  t.match(line(lists(504)), /504 deep/);
  t.match(line(`"${'é'.repeat(4 * 1024 * 1024)}"`), ['failed', 1, 2, 'output-too-large', String, false]);
  t.match(line('x'), 'a line that cannot be read');
  const children = `["completed",1,2,3,{"children":[{"data":${lists(500)}}]}]`;
  t.match(readChildLine(children), ['completed', 1, 2, 3, { children: [{}] }], 'data of children may be as deep as data');
});
