import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Grid, packageRoot } from '../lab/grid.js';
import { requireTools } from '../lab/require.js';
import { SlowLine, slowLineTools } from '../lab/slow-line.js';
import { until } from '../lab/until.js';

/** Says what it finds, tries to write to it, and passes one on to a child. */
const TASK = `
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
const tries = (act) => { try { act(); return 'done'; } catch (error) { return error.code; } };
export default ({ child }, { files, fileRef, spawn }) => {
  if (child) spawn({ id: child, data: {}, files: { 'passed/on.bin': fileRef('in/a.bin') } });
  return Object.fromEntries(Object.entries(files).map(([name, path]) => {
    const content = readFileSync(path);
    const sha256 = createHash('sha256').update(content).digest('hex');
    return [name, { sha256, size: content.length, write: tries(() => writeFileSync(path, 'x')), remove: tries(() => rmSync(path)) }];
  }));
};
`;

const shaOf = (content: Buffer | string) => createHash('sha256').update(content).digest('hex');

t.test(
  'files of the input lines reach the run, by name and read-only; a child has its parent’s; the second job sends nothing',
  async (t) => {
    const grid = new Grid();
    t.teardown(() => grid.close());
    mkdirSync(join(grid.folder, 'task'));
    mkdirSync(join(grid.folder, 'data', 'in'), { recursive: true });
    writeFileSync(join(grid.folder, 'task', 'task.mjs'), TASK);
    const content = randomBytes(3_000_000);
    writeFileSync(join(grid.folder, 'data', 'in', 'a.bin'), content);
    writeFileSync(join(grid.folder, 'data', 'b.txt'), 'text');
    const files = { 'in/a.bin': './in/a.bin', constructor: 'b.txt' };
    const jobs = [
      { id: 'one', data: { child: 'child' }, files },
      { id: 'two', data: {}, files, parents: ['one'] },
      { id: 'plain', data: {} },
    ];
    writeFileSync(join(grid.folder, 'data', 'jobs.ndjson'), jobs.map((job) => JSON.stringify(job)).join('\n'));
    await grid.tracker();
    const ledger = ['--ledger', 'sqlite:l.db', '--output', 'out.ndjson', '--http', '127.0.0.1:0'];
    const { program, token } = await grid.master(['--task', 'task', '--input', 'data/jobs.ndjson', '--stay', ...ledger]);
    grid.worker(token, 'w', ['--concurrency', '1']);
    await until(
      () => readdirSync(grid.folder).includes('out.ndjson') && grid.outcomes('out.ndjson').length >= 3,
      20,
      () => program.text,
    );
    const outputs = new Map(grid.outcomes('out.ndjson').map(({ id, output }) => [id, output]));
    const a = { sha256: shaOf(content), size: content.length, write: /E/, remove: /E/ };
    t.match(outputs.get('one'), { 'in/a.bin': a, constructor: { sha256: shaOf('text'), size: 4 } });
    t.match(outputs.get('two'), { 'in/a.bin': a });
    t.same(outputs.get('plain'), {});
    const url = (await program.line(/http:\/\/[^ ]+/)).match(/http:\/\/[\d.:]+/)?.[0];
    const record = await (await fetch(`${url}/v1/jobs/child`)).json();
    t.match(record, { files: { 'passed/on.bin': { sha256: shaOf(content), size: content.length } } });
    await until(
      async () => (await (await fetch(`${url}/v1/jobs/child`)).json()).state === 'completed',
      20,
      () => program.text,
    );
    const stored = readdirSync(join(grid.folder, 'l.db.files', 'files'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.includes('-'),
    );
    t.equal(stored.length, 2, 'each content once');
    t.same(readdirSync(join(grid.folder, 'l.db.files', 'uploads')), []);
    const kept = readdirSync(join(grid.folder, 'w', '.peerwork', 'store', 'files'), { recursive: true, encoding: 'utf8' });
    t.equal(kept.filter((name) => /^..\//.test(name)).length, 2, 'on the Worker too');
    const scratch = readdirSync(join(grid.folder, 'w', '.peerwork', 'workers', '1', 'scratch'), { recursive: true, encoding: 'utf8' });
    t.same(
      scratch.filter((name) => name.endsWith('a.bin') || name.endsWith('on.bin')),
      [],
      'and where the job had them nothing is left',
    );
  },
);

t.test('peerwork push: --file, and paths in lines; a bad one is told before anything is added', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  mkdirSync(join(grid.folder, 'task'));
  mkdirSync(join(grid.folder, 'sub'));
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), TASK);
  writeFileSync(join(grid.folder, 'sub', 'a.txt'), 'alpha');
  const lines = [
    { id: 'line', data: {}, files: { 'a.txt': 'a.txt' } },
    { id: 'other', data: { files: 'no files' } },
  ];
  writeFileSync(join(grid.folder, 'sub', 'jobs.ndjson'), `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`);
  writeFileSync(join(grid.folder, 'sub', 'job.json'), JSON.stringify({ id: 'json', data: {}, files: { b: './a.txt' } }));
  await grid.tracker();
  const { program, token } = await grid.master(['--task', 'task', '--ledger', 'memory:', '--http', '127.0.0.1:0']);
  const url = (await program.line(/http:\/\/[^ ]+/)).match(/http:\/\/[\d.:]+/)?.[0] ?? '';
  const push = (...args: string[]) => {
    const [file, script] = [process.execPath, join(packageRoot, 'bin', 'peerwork.js')];
    try {
      return execFileSync(file, [script, 'push', '--api', url, ...args], { cwd: grid.folder, encoding: 'utf8', stdio: 'pipe' });
    } catch (error) {
      return (error as { stderr: string }).stderr;
    }
  };
  t.match(push('--data', '{}', '--id', 'flag', '--file', 'x/a.txt=sub/a.txt', '--file', 'b=sub/a.txt'), /flag/);
  t.match(push('sub/jobs.ndjson'), /2 added/);
  t.match(push('sub/job.json'), /json/);
  t.match(push('--data', '{}', '--file', 'a=sub/none'), /file-missing/);
  t.match(push('--data', '{}', '--file', 'sub/a.txt'), /option-invalid/);
  t.match(push('--data', '{}', '--file', '../a=sub/a.txt'), /job-invalid/);
  grid.worker(token, 'w');
  const ref = { sha256: shaOf('alpha'), size: 5 };
  for (const [id, files] of [
    ['flag', { 'x/a.txt': ref, b: ref }],
    ['line', { 'a.txt': ref }],
    ['json', { b: ref }],
  ] as const) {
    const get = async () => (await fetch(`${url}/v1/jobs/${id}`)).json();
    await until(
      async () => (await get()).state === 'completed',
      20,
      () => `${id}: ${program.text}`,
    );
    t.match((await get()).settled.output, files, id);
  }
});

t.test('an input that names a file which is not there is refused with the line', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), TASK);
  writeFileSync(
    join(grid.folder, 'jobs.ndjson'),
    '{"data":1}\n{"data":1,"files":{"a":"./none"}}\n{"data":1,"files":{"../a":"task/task.mjs"}}\n',
  );
  await grid.tracker();
  const program = grid.start(['master', '--tracker', grid.trackerUrl, '--task', 'task', '--input', 'jobs.ndjson', '--ledger', 'memory:']);
  t.equal((await program.ended).code, 2);
  t.match(program.text, /line 2: files\["a"\]: .*none/);
  t.match(program.text, /line 3: files cannot have the name/);
});

t.test('a file on a slow line crosses it once, though the Worker is killed on the way, and then the Master', async (t) => {
  if (!requireTools(t, slowLineTools, { root: true })) return;
  const line = await SlowLine.open({ downMbit: 8 });
  const grid = new Grid();
  t.teardown(async () => {
    await grid.close();
    await line.close();
  });
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), TASK);
  const content = randomBytes(6_000_000);
  writeFileSync(join(grid.folder, 'a.bin'), content);
  writeFileSync(join(grid.folder, 'jobs.ndjson'), JSON.stringify({ id: 'a', data: {}, files: { 'in/a.bin': 'a.bin' } }));
  const inFar = { prefix: line.inside('far') };
  await grid.tracker(0, { ...inFar, host: line.address('far') });
  const args = ['--task', 'task', '--input', 'jobs.ndjson', '--output', 'out.ndjson', '--ledger', 'sqlite:l.db', '--lease-ms', '3000'];
  const first = await grid.master(args, inFar);
  const start = () => grid.worker(first.token, 'w', ['--concurrency', '1'], { prefix: line.inside('near') });
  const carried = (bytes: number) =>
    until(
      async () => (await line.count()).down > bytes,
      60,
      () => first.program.text,
    );
  const worker = start();
  await carried(2_000_000);
  await worker.stop('SIGKILL');
  start();
  await carried(4_000_000);
  await first.program.stop('SIGKILL');
  const second = await grid.master(args, inFar);
  t.equal((await second.program.ended).code, 0, second.program.text);
  const { down, lostDown } = await line.count();
  t.match(grid.outcomes('out.ndjson'), [
    { id: 'a', state: 'completed', output: { 'in/a.bin': { sha256: shaOf(content), size: 6_000_000 } } },
  ]);
  t.ok(down + lostDown < 1.25 * content.length, `${down + lostDown} bytes for ${content.length}`);
});

/** Leaves files in every way there is; `bad` what cannot be returned. */
const MAKER = `
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
export default async ({ bytes, bad, fail }, context) => {
  if (bad) { writeFileSync(join(context.outdir, 'a:b'), 'x'); return 1; }
  mkdirSync(join(context.outdir, 'sub'));
  writeFileSync(join(context.outdir, 'sub', 'big.bin'), Buffer.alloc(bytes, 'ab'));
  await context.attach('bytes.txt', Buffer.from('bytes'));
  writeFileSync('made.txt', 'made');
  await context.attach('path.txt', join(context.workdir, 'made.txt'));
  await context.attach('stream.txt', (async function* () { yield Buffer.from('str'); yield Buffer.from('eam'); })());
  if (fail) throw new Error('after the files');
  return Object.keys(context).length;
};
`;

t.test('files that a run leaves come back with its outcome: in a folder, over HTTP and by the command line', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), MAKER);
  const jobs = [
    { id: 'one', data: { bytes: 3_500_000 } },
    { id: 'Two/../x', data: { bytes: 10 } },
    { id: 'bad', data: { bad: true } },
    { id: 'failing', data: { bytes: 10, fail: true }, attempts: 1 },
  ];
  writeFileSync(join(grid.folder, 'jobs.ndjson'), jobs.map((job) => JSON.stringify(job)).join('\n'));
  await grid.tracker();
  const args = [
    '--input',
    'jobs.ndjson',
    '--stay',
    '--ledger',
    'sqlite:l.db',
    '--output',
    'out.ndjson',
    '--output-dir',
    'made',
    '--http',
    '127.0.0.1:0',
  ];
  const { program, token } = await grid.master(['--task', 'task', ...args]);
  grid.worker(token, 'w', ['--concurrency', '1']);
  await until(
    () => readdirSync(grid.folder).includes('out.ndjson') && grid.outcomes('out.ndjson').length >= 4,
    20,
    () => program.text,
  );
  const outcomes = new Map(grid.outcomes('out.ndjson').map((outcome) => [outcome.id, outcome]));
  const big = Buffer.alloc(3_500_000, 'ab');
  t.match(outcomes.get('one'), {
    state: 'completed',
    files: {
      'sub/big.bin': { sha256: shaOf(big), size: big.length },
      'bytes.txt': { size: 5 },
      'path.txt': { sha256: shaOf('made') },
      'stream.txt': { size: 6 },
    },
  });
  t.match(outcomes.get('bad'), {
    state: 'failed',
    error: { code: 'files-invalid', message: /"a:b": it has a character that Windows/ },
    attempts: 1,
  });
  t.match(outcomes.get('failing'), { state: 'failed', error: { code: 'task-threw' }, files: { 'bytes.txt': { size: 5 } } });
  const made = readdirSync(join(grid.folder, 'made')).sort();
  t.match(made, [/^Two_x~[0-9a-f]{16}$/, 'failing', 'one']);
  t.equal(shaOf(readFileSync(join(grid.folder, 'made', 'one', 'sub', 'big.bin'))), shaOf(big));
  t.equal(readFileSync(join(grid.folder, 'made', 'one', 'stream.txt'), 'utf8'), 'stream');
  const url = (await program.line(/http:\/\/[^ ]+/)).match(/http:\/\/[\d.:]+/)?.[0] ?? '';
  const part = await fetch(`${url}/v1/jobs/one/files/sub/big.bin`, { headers: { range: 'bytes=1-4' } });
  t.match([part.status, await part.text(), part.headers.get('content-disposition')], [206, 'baba', 'attachment']);
  t.equal((await fetch(`${url}/v1/jobs/one/files/none`)).status, 404);
  const [file, script] = [process.execPath, join(packageRoot, 'bin', 'peerwork.js')];
  execFileSync(file, [script, 'job', 'Two/../x', '--api', url, '--files', 'saved'], { cwd: grid.folder, stdio: 'pipe' });
  t.same(readdirSync(join(grid.folder, 'saved'), { recursive: true, encoding: 'utf8' }).sort(), [
    'bytes.txt',
    'path.txt',
    'stream.txt',
    'sub',
    'sub/big.bin',
  ]);
  await until(
    () => readdirSync(join(grid.folder, 'w', '.peerwork', 'workers', '1', 'outgoing')).length === 0,
    20,
    () => 'files of outcomes that are delivered stay on the Worker',
  );
});

t.test('a graph of files: what a parent made is read by its children, and handed on', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  mkdirSync(join(grid.folder, 'task'));
  const task = `
    import { readFileSync } from 'node:fs';
    export default async ({ text, on }, { attach, parents, files, fileRef, spawn }) => {
      if (text !== undefined) return void (await attach('text.txt', Buffer.from(text)));
      if (on !== undefined) return readFileSync(files['given.txt'], 'utf8');
      spawn({ id: 'on', data: { on: true }, files: { 'given.txt': fileRef(parents[1].files['text.txt']) } });
      return parents.map(({ files }) => readFileSync(files['text.txt'], 'utf8')).join(' ');
    };`;
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), task);
  const jobs = [
    { id: 'join', data: {}, parents: ['a', 'b'] },
    { id: 'a', data: { text: 'one' } },
    { id: 'b', data: { text: 'two' } },
  ];
  writeFileSync(join(grid.folder, 'jobs.ndjson'), jobs.map((job) => JSON.stringify(job)).join('\n'));
  await grid.tracker();
  const args = ['--input', 'jobs.ndjson', '--stay', '--ledger', 'memory:', '--output', 'out.ndjson', '--http', '127.0.0.1:0'];
  const { program, token } = await grid.master(['--task', 'task', ...args]);
  grid.worker(token, 'w');
  await until(
    () => readdirSync(grid.folder).includes('out.ndjson') && grid.outcomes('out.ndjson').length >= 3,
    20,
    () => program.text,
  );
  t.match(
    grid.outcomes('out.ndjson').find(({ id }) => id === 'join'),
    { state: 'completed', output: 'one two' },
  );
  const url = (await program.line(/http:\/\/[^ ]+/)).match(/http:\/\/[\d.:]+/)?.[0] ?? '';
  const get = async () => (await fetch(`${url}/v1/jobs/on`)).json();
  await until(
    async () => (await get()).state === 'completed',
    20,
    () => program.text,
  );
  t.equal((await get()).settled.output, 'two');
});

t.test('a file that a run made crosses a slow line once, though the Worker is killed on the way, and then the Master', async (t) => {
  if (!requireTools(t, slowLineTools, { root: true })) return;
  const line = await SlowLine.open({ upMbit: 8 });
  const grid = new Grid();
  t.teardown(async () => {
    await grid.close();
    await line.close();
  });
  mkdirSync(join(grid.folder, 'task'));
  const task = `
    import { createHash, randomBytes } from 'node:crypto';
    export default async (_, { attach, attempt }) => {
      const content = randomBytes(6_000_000);
      await attach('random.bin', content);
      return { attempt, sha256: createHash('sha256').update(content).digest('hex') };
    };`;
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), task);
  writeFileSync(join(grid.folder, 'jobs.ndjson'), JSON.stringify({ id: 'a', data: {} }));
  const inFar = { prefix: line.inside('far') };
  await grid.tracker(0, { ...inFar, host: line.address('far') });
  const files = ['--output', 'out.ndjson', '--output-dir', 'made'];
  const args = ['--task', 'task', '--input', 'jobs.ndjson', ...files, '--ledger', 'sqlite:l.db', '--lease-ms', '20000'];
  const first = await grid.master(args, inFar);
  const start = () => grid.worker(first.token, 'w', ['--concurrency', '1'], { prefix: line.inside('near') });
  const carried = (bytes: number) =>
    until(
      async () => (await line.count()).up > bytes,
      60,
      () => first.program.text,
    );
  const worker = start();
  await carried(2_000_000);
  await worker.stop('SIGKILL');
  start();
  await carried(4_000_000);
  await first.program.stop('SIGKILL');
  const second = await grid.master(args, inFar);
  t.equal((await second.program.ended).code, 0, second.program.text);
  const { up, lostUp } = await line.count();
  const [outcome] = grid.outcomes('out.ndjson') as { state: string; attempts: number; output: { attempt: number; sha256: string } }[];
  t.match(outcome, { state: 'completed', attempts: 1, output: { attempt: 1 } }, 'the run that made it counts');
  t.equal(shaOf(readFileSync(join(grid.folder, 'made', 'a', 'random.bin'))), outcome?.output.sha256);
  t.ok(up + lostUp < 1.3 * 6_000_000, `${up + lostUp} bytes for 6,000,000`);
});
