import { execFile } from 'node:child_process';
import { chmod, lstat, mkdir, readdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.js';
import { PeerworkError } from '../../src/errors.js';
import type { TaskOrigin } from '../../src/job/source.js';
import { BlobStore } from '../../src/task/blob-store.js';
import { DependencyLayers } from '../../src/task/layers.js';
import { TaskPublisher, type TaskPublisherOptions } from '../../src/task/publish.js';
import { type Synced, Workplaces, type WorkplacesOptions } from '../../src/task/workplace.js';
import { until } from '../lab/until.js';
import { blobOf, liar, makeKey, manifestOf, noise, serve, verify, writeTree } from './fixtures.js';
import { home } from './home.js';

const run = promisify(execFile);

/** A Master with a task folder and a worker, connected within one process. */
async function connectPair(
  t: Test,
  files: Record<string, string | Uint8Array>,
  more: { master?: Partial<TaskPublisherOptions>; worker?: Partial<WorkplacesOptions> } = {},
) {
  const folder = await home(t);
  const key = makeKey();
  const task = await writeTree(join(folder, 'task'), files);
  const publisher = new TaskPublisher({
    source: task,
    sign: key.sign,
    publisherId: key.publisher,
    store: new BlobStore({ folder: join(folder, 'master') }),
    ...more.master,
  });
  t.teardown(() => publisher.close());
  const synced: Synced[] = [];
  const makeWorker = (options: Partial<WorkplacesOptions> = {}) => {
    const workplaces = new Workplaces({
      folder: join(folder, 'workplaces'),
      blobs: new BlobStore({ folder: join(folder, 'blobs') }),
      layers: new DependencyLayers({ folder: join(folder, 'layers') }),
      verify,
      onSynced: (one) => synced.push(one),
      ...more.worker,
      ...options,
    });
    t.teardown(() => workplaces.close());
    return workplaces;
  };
  return { folder, task, key, publisher, synced, makeWorker };
}

t.test('a task travels: files, modes, dependencies; the second time nothing does', async (t) => {
  const big = noise(3 * 1024 * 1024);
  const { publisher, makeWorker, synced, key } = await connectPair(t, {
    'task.js':
      "const Big = require('big.js'); const half = require('./lib/half'); module.exports = class { async run(job) { return half(new Big(job.data).plus('0.2')).toString(); } };",
    'lib/half.js': 'module.exports = (value) => value.div(2);',
    'data/big.bin': big,
    'empty.txt': '',
    'package.json': JSON.stringify({ dependencies: { 'big.js': '7.0.1' }, devDependencies: { tap: '*' } }),
  });
  const { digest } = await publisher.start();
  const worker = makeWorker();
  const workplace = await worker.prepare(publisher.origin(digest), { publisher: key.publisher });
  const script = `new (require(${JSON.stringify(join(workplace.folder, workplace.entry))}))().run({ data: '0.1' }).then(console.log)`;
  const { stdout } = await run(process.execPath, ['-e', script]);
  t.equal(stdout.trim(), '0.15');
  t.ok(big.equals(await readFile(join(workplace.folder, 'data/big.bin'))));
  t.equal(workplace.readable.length, 2);
  t.equal(synced[0]?.dependencies, 'installed');

  const again = await worker.prepare(publisher.origin(digest), { publisher: key.publisher });
  t.equal(again.folder, workplace.folder);
  t.equal(synced.length, 1, 'ready in memory');
  const restarted = makeWorker();
  await restarted.prepare(publisher.origin(digest), { publisher: key.publisher });
  t.match(synced[1], { bytes: 0, blobs: 0, dependencies: 'present' }, 'nothing travels after a restart either');
});

t.test('one byte of 50 MiB changed: at most 1 MiB travels', async (t) => {
  const bytes = noise(50 * 1024 * 1024);
  const { publisher, makeWorker, synced, key, task } = await connectPair(t, { 'task.js': '', 'big.bin': bytes });
  const worker = makeWorker();
  const prepare = ({ digest }: { digest: string }) => worker.prepare(publisher.origin(digest), { publisher: key.publisher });
  await prepare(await publisher.start());
  t.ok((synced[0]?.bytes ?? 0) > bytes.length);
  bytes[20_000_000] = (bytes[20_000_000] ?? 0) ^ 1;
  await writeFile(join(task, 'big.bin'), bytes);
  const changed = await prepare(await publisher.refresh());
  t.ok((synced[1]?.bytes ?? 0) > 0 && (synced[1]?.bytes ?? 0) <= 1024 * 1024, `${synced[1]?.bytes} bytes`);
  await writeFile(join(task, 'big.bin'), Buffer.concat([Buffer.from('x'), bytes]));
  await prepare(await publisher.refresh());
  t.ok((synced[2]?.bytes ?? 0) > 0 && (synced[2]?.bytes ?? 0) <= 1024 * 1024, `${synced[2]?.bytes} bytes after an insertion`);
  t.ok(bytes.equals(await readFile(join(changed.folder, 'big.bin'))));
});

t.test('a folder as the task finds it', async (t) => {
  const { publisher, makeWorker, key, task } = await connectPair(t, { 'task.js': 'a', 'lib/run.sh': 'b' });
  await chmod(join(task, 'lib/run.sh'), 0o755);
  const { digest } = await publisher.start();
  const { folder, entry, readable, manifest } = await makeWorker().prepare(publisher.origin(digest), { publisher: key.publisher });
  t.same((await readdir(folder)).sort(), ['lib', 'package.json', 'task.js']);
  t.equal(await readFile(join(folder, 'package.json'), 'utf8'), '{}\n', 'Node looks no further up for the kind of module');
  t.same([entry, readable, manifest.version], ['task.js', [folder], publisher.current.manifest.version]);
  const mode = async (path: string) => ((await stat(join(folder, path))).mode & 0o777).toString(8);
  if (process.platform !== 'win32') t.same([await mode('task.js'), await mode('lib/run.sh'), await mode('lib')], ['444', '555', '755']);
});

t.test('many jobs ask for the same task at once', async (t) => {
  const { publisher, makeWorker, key, synced } = await connectPair(t, { 'task.js': 'x', 'data.bin': noise(200_000) });
  const { digest } = await publisher.start();
  const worker = makeWorker();
  const all = await Promise.all(Array.from({ length: 20 }, () => worker.prepare(publisher.origin(digest), { publisher: key.publisher })));
  t.equal(new Set(all.map(({ folder }) => folder)).size, 1);
  t.equal(synced.length, 1);
  t.equal(synced[0]?.blobs, 2);
  await worker.close();
  await t.rejects(worker.prepare(publisher.origin(digest), { publisher: key.publisher }), { code: 'closed' });
});

t.test('a damaged workplace is made anew by the next process', async (t) => {
  const { publisher, makeWorker, key, synced } = await connectPair(t, { 'task.js': 'good', 'lib/a.js': 'a' });
  const { digest } = await publisher.start();
  const prepare = () => makeWorker().prepare(publisher.origin(digest), { publisher: key.publisher });
  const { folder } = await prepare();
  const task = join(folder, 'task.js');
  const damages: [string, () => Promise<unknown>][] = [
    ['a file is gone', () => rm(task)],
    [
      'a file is short',
      async () => {
        await chmod(task, 0o644);
        await truncate(task, 2);
      },
    ],
    [
      'a file was written to',
      async () => {
        await chmod(task, 0o644);
        await writeFile(task, 'evil');
      },
    ],
    [
      'a file became a link',
      async () => {
        await rm(task);
        await symlink('/etc/passwd', task);
      },
    ],
    ['a file was added', () => writeFile(join(folder, 'lib', 'cache.json'), 'x')],
    [
      'modules were added',
      async () => {
        await mkdir(join(folder, 'node_modules/x'), { recursive: true });
        await writeFile(join(folder, 'node_modules/x/index.js'), '');
      },
    ],
    ['all is gone', () => rm(folder, { recursive: true })],
  ];
  for (const [name, damage] of damages) {
    await damage();
    await prepare();
    t.equal(await readFile(task, 'utf8'), 'good', name);
    t.ok((await lstat(task)).isFile());
    t.equal(synced.at(-1)?.bytes, 0, 'from blobs that are there');
    t.notOk(await stat(join(folder, 'lib/cache.json')).catch(() => undefined));
  }
  await writeFile(`${folder}.json`, '{"spoilt');
  await prepare();
  t.ok((synced.at(-1)?.bytes ?? 0) > 0, 'a spoilt manifest is fetched again');
});

t.test('a cut link, a spoilt blob, a cancelled job', async (t) => {
  const files = { 'task.js': 'x', 'big.bin': noise(4_000_000) };
  const { publisher, makeWorker, key, synced, folder } = await connectPair(t, files, { worker: { fetchesAtOnce: 2 } });
  const { digest } = await publisher.start();
  const origin = publisher.origin(digest);
  let until = 10;
  const cutting: TaskOrigin = {
    ...origin,
    async *blob(...args) {
      for await (const bytes of origin.blob(...args)) {
        until -= 1;
        if (until < 0) throw new PeerworkError('link-lost', 'cut by the test');
        yield bytes.subarray(0, 1_000);
        yield bytes.subarray(1_000);
      }
    },
  };
  const worker = makeWorker();
  await t.rejects(worker.prepare(cutting, { publisher: key.publisher }), { code: 'link-lost' });
  t.same(
    (await readdir(join(folder, 'workplaces'))).filter((name) => name !== 'versions.json'),
    [],
    'nothing half made is left',
  );
  await worker.prepare(origin, { publisher: key.publisher });
  t.ok((synced[0]?.bytes ?? 0) < 3_700_000, `${synced[0]?.bytes} bytes: what had come is not fetched again`);

  const [chunk] = publisher.current.manifest.files.find(({ path }) => path === 'big.bin')?.chunks ?? [];
  const { sha256, size } = chunk ?? { sha256: '', size: 0 };
  await writeFile(join(folder, 'blobs/blobs', sha256.slice(0, 2), sha256.slice(2)), noise(size, 99));
  await rm(join(folder, 'workplaces'), { recursive: true });
  const { folder: made } = await makeWorker().prepare(origin, { publisher: key.publisher });
  t.ok(files['big.bin'].equals(await readFile(join(made, 'big.bin'))), 'a blob that went bad on disk is fetched again');

  const hanging: TaskOrigin = {
    ...origin,
    manifest: (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  };
  const cancel = new AbortController();
  await rm(join(folder, 'workplaces'), { recursive: true });
  const waiting = makeWorker().prepare(hanging, { publisher: key.publisher, signal: cancel.signal });
  cancel.abort();
  await t.rejects(waiting, { code: 'cancelled' });
});

t.test('workplaces in which nothing runs go, those in use stay', async (t) => {
  const { publisher, makeWorker, key, task, folder } = await connectPair(t, { 'task.js': '0' }, { worker: { keep: 1 } });
  let now = Date.now();
  const worker = makeWorker({ clock: { ...systemClock, wall: () => now } });
  const prepare = async (content: string) => {
    now += 1_000;
    await writeFile(join(task, 'task.js'), content);
    const { digest } = await publisher.refresh();
    return worker.prepare(publisher.origin(digest), { publisher: key.publisher });
  };
  await publisher.start();
  const [one, two, three] = [await prepare('1'), await prepare('2'), await prepare('3')];
  const there = async () =>
    Promise.all(
      [one, two, three].map(({ folder }) =>
        stat(folder).then(
          () => true,
          () => false,
        ),
      ),
    );
  const settled = async (expected: boolean[]) => {
    await until(async () => String(await there()) === String(expected));
    t.same(await there(), expected);
  };
  await settled([true, true, true]);
  one.release();
  one.release();
  await settled([true, true, true]);
  now += 1_000;
  two.release();
  await settled([false, true, true]);
  const again = await worker.prepare(publisher.origin(one.digest), { publisher: key.publisher });
  t.equal(again.folder, one.folder, 'a version that went can come back');
  three.release();
  now += 1_000;
  again.release();
  await settled([true, false, false]);
  await worker.close();
  t.same((await readdir(join(folder, 'workplaces'))).sort(), [one.digest, `${one.digest}.json`, 'versions.json'].sort());
});

t.test('versions do not go back', async (t) => {
  const folder = await home(t);
  let now = Date.now();
  const key = makeKey();
  const origin = (version: number, content = `v${version}`) =>
    liar(manifestOf({ 'task.js': content }, { version }), serve([content]), key).origin;
  const open = () =>
    new Workplaces({
      folder,
      blobs: new BlobStore({ folder: join(folder, 'store') }),
      layers: new DependencyLayers({ folder: join(folder, 'layers') }),
      verify,
      clock: { ...systemClock, wall: () => now },
    });
  const prepare = (one: TaskOrigin) => open().prepare(one, { publisher: key.publisher });
  await prepare(origin(3));
  await prepare(origin(5));
  await prepare(origin(4));
  t.pass('two leases given out around a change may come in the other order');
  now += 120_000;
  await t.rejects(prepare(origin(2)), { code: 'manifest-older' }, 'a version never seen, older than one seen');
  await t.rejects(prepare(origin(5, 'other')), { code: 'manifest-invalid' }, 'one version, two contents');
  await prepare(origin(3));
  t.pass('one that was prepared before may still have leases');
  const other = liar(manifestOf({ 'task.js': 'v1' }, { version: 1, channel: 'other' }), serve(['v1']), key);
  await open().prepare(other.origin, { publisher: key.publisher });
  await writeFile(join(folder, 'versions.json'), 'spoilt');
  await prepare(origin(6));
});

t.test('a Master that lies', async (t) => {
  const outer = await home(t);
  const folder = join(outer, 'worker');
  const workplaces = new Workplaces({
    folder: join(folder, 'workplaces'),
    blobs: new BlobStore({ folder: join(folder, 'store') }),
    layers: new DependencyLayers({ folder: join(folder, 'layers') }),
    verify,
    limits: { maxFiles: 10, maxBytes: 10_000_000 },
  });
  const refuse = async ({ origin, publisher }: ReturnType<typeof liar>, code: string, name: string) => {
    await t.rejects(workplaces.prepare(origin, { publisher }), { code }, name);
    const left = (await readdir(join(folder, 'workplaces')).catch(() => [])).filter((one) => one !== 'versions.json');
    t.same(left, [], 'no workplace comes of it');
  };
  const honest = liar(manifestOf({ 'task.js': 'x' }), serve(['x']));
  await refuse({ ...honest, publisher: makeKey().publisher }, 'manifest-unsigned', 'another key');
  await refuse({ ...honest, origin: { ...honest.origin, digest: '00'.repeat(32) } }, 'manifest-invalid', 'another digest');
  await refuse({ ...honest, origin: { ...honest.origin, digest: '../../../evil' } }, 'manifest-invalid', 'a path for a digest');
  const body = honest.signed.body.replace('task.js', 'evil.js');
  const forged = { ...honest.signed, body };
  await refuse(
    { ...honest, origin: { ...honest.origin, digest: blobOf(Buffer.from(body)).sha256, manifest: async () => forged } },
    'manifest-unsigned',
    'altered',
  );

  const paths = [
    '../escaped/task.js',
    '/etc/evil',
    'a/../../evil',
    'C:\\evil',
    'lib\\..\\..\\evil',
    'a\0b',
    'node_modules/big.js/index.js',
    'CON',
    'TASK.JS',
    'task.js/x',
  ];
  for (const path of paths)
    await refuse(liar(manifestOf({ 'task.js': 'x', [path]: 'evil' }), serve(['x', 'evil'])), 'asset-path-unsafe', encodeURI(path));
  await refuse(liar(manifestOf({ 'task.js': 'x' }), serve([])), 'asset-hash-mismatch', 'nothing for something');
  await refuse(
    liar(manifestOf({ 'task.js': 'x' }), async function* () {
      yield Buffer.from('y');
    }),
    'asset-hash-mismatch',
    'other content',
  );
  await refuse(
    liar(manifestOf({ 'task.js': 'x' }), async function* () {
      for (;;) yield Buffer.alloc(1_000);
    }),
    'asset-hash-mismatch',
    'content without end',
  );
  const lying = manifestOf({ 'task.js': 'xyz' });
  const [file] = lying.files;
  await refuse(
    liar({ ...lying, files: [{ ...file, size: 5 }] } as typeof lying, serve(['xyz'])),
    'asset-hash-mismatch',
    'a size that is too large',
  );
  await refuse(
    liar({ ...lying, files: [{ ...file, size: 1 }] } as typeof lying, serve(['xyz'])),
    'asset-hash-mismatch',
    'a size that is too small',
  );
  const pieces = ['pie', 'ces'].map((text) => blobOf(Buffer.from(text)));
  const chunked = {
    ...lying,
    files: [{ path: 'task.js', mode: 0o644, size: 6, ...{ sha256: blobOf(Buffer.from('pieces')).sha256 }, chunks: pieces }],
  };
  await refuse(liar(chunked as typeof lying, serve(['pie', 'ces'])), 'manifest-invalid', 'pieces that do not make the file');
  const empty = { ...lying, files: [{ ...file, size: 0 }] };
  await refuse(liar(empty as typeof lying, serve([])), 'manifest-invalid', 'an empty file with the hash of another');
  await refuse(liar(manifestOf({ 'task.js': 'x'.repeat(10_000_001) }), serve([])), 'asset-too-large', 'more than this worker allows');
  const lock = blobOf(Buffer.from('{}'));
  const withLock = manifestOf({ 'task.js': 'x' }, { dependencies: { packageJson: '{"dependencies":{"a":"1"}}', lock } });
  await refuse(liar(withLock, serve(['x', '{}'])), 'dependencies-refused', 'a lockfile that is none');
  const odd = manifestOf(
    { 'task.js': 'x' },
    { dependencies: { packageJson: '{"scripts":{"install":"touch /tmp/evil"},"dependencies":{"a":"file:/etc"}}', lock } },
  );
  await refuse(liar(odd, serve(['x', '{}'])), 'dependencies-refused', 'dependencies from this disk');
  t.same(await readdir(outer), ['worker'], 'nothing was written anywhere else');
});
