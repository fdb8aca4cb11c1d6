import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import type { Json, Outcome } from '../../src/job/job.js';
import { TaskModuleRunner } from '../../src/runners/task-module/task-module-runner.js';
import { removeFolder } from '../lab/remove-folder.js';

const tasks = fileURLToPath(new URL('../../../assets/tasks', import.meta.url));

/** Copies the task as a worker would have it, and returns a function that runs its jobs. */
async function stage(t: Test, name: string, entry: string): Promise<{ folder: string; run(id: string, data: Json): Promise<Outcome> }> {
  const home = await realpath(await mkdtemp(join(tmpdir(), 'peerwork-sample-')));
  t.teardown(() => removeFolder(home));
  const folder = join(home, 'task');
  await cp(join(tasks, name), folder, { recursive: true });
  const runner = await TaskModuleRunner.start({ concurrency: 2, scratchFolder: join(home, 'scratch') });
  t.teardown(() => runner.close());
  const workplace = { digest: name, folder, entry, readable: [folder] };
  const { signal } = new AbortController();
  const run = (id: string, data: Json) =>
    runner.run({ id, data, channel: 'default', attempt: 1, timeoutMs: 60_000 }, { workplace, signal, report: () => {} });
  return { folder, run };
}

async function jobsOf(name: string): Promise<{ id: string; data: Json }[]> {
  const text = await readFile(join(tasks, `${name}.ndjson`), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { id: string; data: Json });
}

t.test('hello: the class form', async (t) => {
  const { run } = await stage(t, 'hello', 'task.js');
  for (const { id, data } of await jobsOf('hello')) {
    const { name } = data as { name: string };
    t.strictSame(await run(id, data), { state: 'completed', output: { text: `Hello, ${name}!`, from: id } });
  }
});

t.test('word-count: files that came with the task', async (t) => {
  const { run } = await stage(t, 'word-count', 'task.mjs');
  const jobs = await jobsOf('word-count');
  const outcomes = await Promise.all(jobs.map(({ id, data }) => run(id, data)));
  t.match(
    outcomes,
    jobs.map(({ data }) => ({ state: 'completed', output: { ...(data as object), lines: Number, words: Number } })),
  );
  t.match(outcomes[jobs.findIndex(({ id }) => id === 'gettysburg-address')], {
    output: {
      words: 277,
      lines: 17,
      longest: 'battle-field',
      most: [
        ['that', 13],
        ['the', 12],
      ],
    },
  });
  t.match(await run('outside', { file: '../../../etc/passwd' }), { state: 'failed', error: { code: 'task-threw' } });
});

t.test('mandelbrot: tiles through a real dependency, joined to one picture', async (t) => {
  const { folder, run } = await stage(t, 'mandelbrot', 'task.js');
  await promisify(execFile)('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'], { cwd: folder });
  const load = (file: string) => import(pathToFileURL(join(folder, file)).href);
  const { tileJobs } = await load('tiles.js');
  const { joinTiles, readPoints } = await load('join-tiles.js');
  t.strictSame(
    (await jobsOf('mandelbrot')).map(({ data }) => data),
    tileJobs(),
    'the input file is what tileJobs makes',
  );

  const view = { re: -0.5, im: 0, span: 3, limit: 200 };
  const size = { width: 90, height: 61, view };
  const pictureOf = async (tile: number) => {
    const jobs: Json[] = tileJobs({ ...size, tile });
    const outcomes = await Promise.all(jobs.map((data, index) => run(`tile-${index}`, data)));
    const outputs = outcomes.map((outcome) => (outcome.state === 'completed' ? outcome.output : t.fail(JSON.stringify(outcome))));
    // In arbitrary order, as they arrive.
    return readPoints(joinTiles(outputs.reverse()), size.width, size.height) as Buffer;
  };
  const inTiles = await pictureOf(32);
  t.ok(inTiles.equals(await pictureOf(1_000)), 'nine tiles make the same picture as one');
  const point = (x: number, y: number) => [...inTiles.subarray((y * size.width + x) * 3, (y * size.width + x) * 3 + 3)];
  t.strictSame(point(45, 30), [0, 0, 0], 'the centre belongs to the set');
  t.notSame(point(0, 0), [0, 0, 0], 'the corner does not');
  t.throws(() => joinTiles([{ x: 32, y: 0, width: 32, height: 32, png: '' }]), /tiles cover/);
});
