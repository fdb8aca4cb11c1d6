import { chmod, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Clock } from '../../src/clock.js';
import type { PeerworkError } from '../../src/errors.js';
import { BlobStore } from '../../src/task/blob-store.js';
import { FolderWatch } from '../../src/task/folder-watch.js';
import { verifyManifest } from '../../src/task/manifest.js';
import type { Publication } from '../../src/task/publications.js';
import { TaskPublisher, type TaskPublisherOptions } from '../../src/task/publish.js';
import { until } from '../lab/until.js';
import { blobOf, collect, makeKey, noise, verify, writeTree } from './fixtures.js';
import { home } from './home.js';

async function setUp(t: Test, files: Record<string, string | Uint8Array>) {
  const folder = await home(t);
  const task = await writeTree(join(folder, 'task'), files);
  const key = makeKey();
  const published: Publication[] = [];
  const errors: PeerworkError[] = [];
  const make = (options: Partial<TaskPublisherOptions> = {}) => {
    const publisher = new TaskPublisher({
      source: task,
      sign: key.sign,
      publisherId: key.publisher,
      store: new BlobStore({ folder: join(folder, 'store') }),
      onChange: (publication) => published.push(publication),
      onError: (error) => errors.push(error),
      ...options,
    });
    t.teardown(() => publisher.close());
    return publisher;
  };
  return { folder, task, key, make, published, errors };
}

const paths = ({ manifest }: Publication) => manifest.files.map(({ path }) => path);

t.test('a folder becomes a signed manifest', async (t) => {
  const { make, task, key } = await setUp(t, {
    'task.mjs': 'export default (data) => data;',
    'task.cjs': 'not the entry: .mjs goes first',
    'lib/deep/er.js': '1',
    'run.sh': '#!/bin/sh',
    '.config/x': 'a dot file that is part of the task',
    '.env': 'TOKEN=1',
    '.env.local': 'TOKEN=2',
    '.npmrc': '//registry/:_authToken=3',
    '.git/config': 'x',
    'node_modules/x/index.js': 'x',
    'lib/node_modules/y/index.js': 'y',
    'lib/.#er.js': 'of an editor',
    'task.mjs~': 'of an editor',
    '.task.mjs.swp': 'of an editor',
  });
  await chmod(join(task, 'run.sh'), 0o777);
  const publisher = make({ channel: 'pictures', nextVersion: () => 7 });
  const publication = await publisher.start();
  t.same(paths(publication), ['.config/x', 'lib/deep/er.js', 'run.sh', 'task.cjs', 'task.mjs']);
  t.match(publication.manifest, {
    format: 1,
    channel: 'pictures',
    version: 7,
    runner: 'task-module',
    entry: 'task.mjs',
    dependencies: null,
  });
  t.equal(publication.manifest.files.find(({ path }) => path === 'run.sh')?.mode, 0o755);
  t.same(verifyManifest(publication.signed, key.publisher, verify), publication.manifest);
  t.equal(publisher.publication(publication.digest), publication);
  t.equal(publisher.current, publication);
  const { sha256 } = blobOf(Buffer.from('#!/bin/sh'));
  t.equal((await collect(publisher.blob(sha256, 2))).toString(), '/bin/sh');
  await t.rejects(collect(publisher.blob(blobOf(Buffer.from('TOKEN=1')).sha256)), { code: 'asset-unknown' });

  await utter(task);
  t.equal(await publisher.refresh(), publication, 'written again with the same content is no new version');
  await publisher.close();
  await t.rejects(publisher.refresh(), { code: 'closed' });

  async function utter(folder: string) {
    await writeFile(join(folder, 'lib/deep/er.js'), '1');
  }
});

t.test('only what differs is a new version, and older ones stay answerable', async (t) => {
  const { make, task, published, folder } = await setUp(t, { 'task.js': 'one', 'big.bin': noise(3_000_000) });
  const rememberIn = join(folder, 'published.json');
  const first = make({ nextVersion: () => 1, rememberIn });
  const one = await first.start();
  await writeFile(join(task, 'task.js'), 'two');
  const two = await first.refresh();
  t.equal(two.manifest.version, 2, 'above the one before, whatever it is told');
  await writeFile(join(task, 'task.js'), 'one');
  const back = await first.refresh();
  t.equal(back.manifest.version, 3, 'going back is a new version too');
  t.not(back.digest, one.digest);
  t.equal((await collect(first.blob(blobOf(Buffer.from('two')).sha256))).toString(), 'two');
  t.same(published, [two, back]);
  await first.close();

  const second = make({ rememberIn });
  t.equal((await second.start()).digest, back.digest, 'an unchanged task keeps its version over a restart');
  t.equal(
    (await collect(second.origin(two.digest).blob(blobOf(Buffer.from('two')).sha256, 0, new AbortController().signal))).toString(),
    'two',
  );
  t.same(published.length, 2);
  await chmod(join(task, 'task.js'), 0o755);
  t.ok((await second.refresh()).manifest.version > 3, 'a mode is content');
  await t.rejects(second.origin('00'.repeat(32)).manifest(new AbortController().signal), { code: 'task-unknown' });
  await second.close();

  const stranger = makeKey();
  const third = make({ rememberIn, sign: stranger.sign, publisherId: stranger.publisher });
  t.equal((await third.start()).signed.publisher, stranger.publisher, 'another key publishes anew');
  await third.close();
  await writeFile(rememberIn, '{"spoilt');
  await make({ rememberIn }).start();

  const many = make();
  const oldest = await many.start();
  for (let i = 0; i < 16; i++) {
    await writeFile(join(task, 'task.js'), `version ${i}`);
    await many.refresh();
  }
  t.equal(many.publication(oldest.digest), undefined, 'sixteen are kept');
});

t.test('watching: a change is published, a mistake is reported and survived', async (t) => {
  const { make, task, published, errors } = await setUp(t, { 'task.js': 'one' });
  const publisher = make({ watch: true });
  const first = await publisher.start();
  await writeFile(join(task, 'task.js'), 'two');
  await until(() => published.length === 1);
  t.not(publisher.current.digest, first.digest);

  await writeTree(task, { 'new/folder/data.txt': 'x' });
  await until(() => published.length === 2);
  await writeFile(join(task, 'new/folder/data.txt'), 'y');
  await until(() => published.length === 3);
  t.same(paths(publisher.current), ['new/folder/data.txt', 'task.js'], 'also in folders made later');

  const kept = publisher.current;
  await rename(join(task, 'task.js'), join(task, 'gone.js'));
  await until(() => errors.length > 0);
  t.equal(errors[0]?.code, 'task-entry-missing');
  t.equal(publisher.current, kept, 'the version before stays');
  await rename(join(task, 'gone.js'), join(task, 'task.js'));
  await writeFile(join(task, 'task.js'), 'three');
  await until(() => published.length > 3);
  t.same(paths(publisher.current), ['new/folder/data.txt', 'task.js']);

  const before = published.length;
  await writeFile(join(task, 'task.js'), 'three');
  await rm(join(task, 'new'), { recursive: true });
  await until(() => published.length > before);
  t.same(paths(publisher.current), ['task.js']);
});

t.test('a file system that reports nothing is looked at all the same', async (t) => {
  const timers: { delayMs: number; action: () => void }[] = [];
  const clock: Clock = {
    now: () => 0,
    wall: () => 0,
    after(delayMs, action) {
      const timer = { delayMs, action };
      timers.push(timer);
      return { cancel: () => timers.splice(timers.indexOf(timer), 1) };
    },
  };
  let stirs = 0;
  const watch = new FolderWatch(() => {
    stirs += 1;
  }, clock);
  watch.watch(['/nowhere/to/be/found'], 0);
  watch.watch([], 1_000);
  t.same(
    timers.map(({ delayMs }) => delayMs),
    [50_000],
    'a look that takes long is made less often',
  );
  watch.watch([], 1);
  t.same(
    timers.map(({ delayMs }) => delayMs),
    [5_000],
  );
  timers[0]?.action();
  t.equal(stirs, 1);
  watch.close();
  watch.watch([], 1);
  t.same(timers, []);
});

t.test('a task.json makes it a task for the runner that it names', async (t) => {
  const { make, folder } = await setUp(t, { 'task.js': 'x' });
  const source = await writeTree(join(folder, 'settings'), { 'task.json': '{"runner":"container","image":"x"}', 'input/data.txt': '1' });
  const { manifest } = await make({ source }).start();
  t.match(manifest, { runner: 'container', entry: 'task.json' });
  t.same(manifest.files.map(({ path }) => path).sort(), ['input/data.txt', 'task.json']);
  t.notOk('tunnel' in manifest);
});

t.test('a task.json names the tunnel of the task, beside code as well', async (t) => {
  const { make, folder } = await setUp(t, { 'task.js': 'x' });
  const crawl = await writeTree(join(folder, 'crawl'), { 'task.json': '{"runner":"crawl","tunnel":"redis"}' });
  t.match((await make({ source: crawl }).start()).manifest, { runner: 'crawl', entry: 'task.json', tunnel: 'redis' });
  const code = await writeTree(join(folder, 'code'), { 'task.json': '{"runner":"task-module","tunnel":"redis"}', 'task.mjs': 'x' });
  const publisher = make({ source: code });
  const first = await publisher.start();
  t.match(first.manifest, { runner: 'task-module', entry: 'task.mjs', tunnel: 'redis' });
  await writeTree(code, { 'task.json': '{"runner":"task-module"}' });
  const second = await publisher.refresh();
  t.notOk('tunnel' in second.manifest, 'and may drop it again');
  t.ok(second.manifest.version > first.manifest.version);
});

t.test('what cannot be published says why', async (t) => {
  const { make, folder } = await setUp(t, { 'task.js': 'x' });
  const refuse = async (
    name: string,
    files: Record<string, string | Uint8Array>,
    code: string,
    options: Partial<TaskPublisherOptions> = {},
  ) => {
    const publisher = make({ source: await writeTree(join(folder, name), files), ...options });
    await t.rejects(publisher.start(), { code }, name);
    t.throws(() => publisher.current, { code: 'task-unknown' });
  };
  await t.rejects(make({ source: join(folder, 'nowhere') }).start(), { code: 'task-folder-missing' });
  await t.rejects(make({ source: join(folder, 'task/task.js') }).start(), { code: 'task-folder-missing' });
  await refuse('no-entry', { 'index.js': '' }, 'task-entry-missing');
  await refuse('settings', { 'task.json': '{' }, 'task-settings-invalid');
  await refuse('bad-tunnel', { 'task.json': '{"runner":"crawl","tunnel":"127.0.0.1:6379"}' }, 'task-settings-invalid');
  await refuse('no-code', { 'task.json': '{"runner":"task-module","tunnel":"redis"}' }, 'task-entry-missing');
  await refuse('no-runner', { 'task.json': '{"runner":"../x"}', 'task.js': '' }, 'task-settings-invalid');
  await refuse('no-setting', { 'task.json': '{"networks":"none"}', 'task.js': '' }, 'task-settings-invalid');
  await refuse('no-network', { 'task.json': '{"network":["nas"]}', 'task.js': '' }, 'task-settings-invalid');
  await refuse('no-process', { 'task.json': '{"runner":"task-module","process":"none"}', 'task.js': '' }, 'task-settings-invalid');
  await refuse('in-a-folder', { 'src/task.js': '' }, 'task-entry-missing');
  await refuse('device', { 'task.js': '', 'aux.js': '' }, 'asset-path-unsafe');
  await refuse('twins', { 'task.js': '', 'Lib.js': '', 'lib.js': '' }, 'asset-path-unsafe');
  await mkdir(join(folder, 'link'));
  await symlink('/etc/passwd', join(folder, 'link', 'passwd'));
  await refuse('link', { 'task.js': '' }, 'asset-path-unsafe');
  await refuse('many', { 'task.js': '', a: '', b: '' }, 'asset-too-large', { limits: { maxFiles: 2, maxBytes: 1e9 } });
  await refuse('large', { 'task.js': 'x'.repeat(1_000) }, 'asset-too-large', { limits: { maxFiles: 2, maxBytes: 999 } });
  const small = new BlobStore({ folder: join(folder, 'small'), quotaBytes: 1_000_000 });
  await refuse('quota', { 'task.js': '', big: noise(2_000_000) }, 'disk-full', { store: small });

  const withPackage = (packageJson: unknown, lock?: unknown) => ({
    'task.js': '',
    'package.json': typeof packageJson === 'string' ? packageJson : JSON.stringify(packageJson),
    ...(lock !== undefined && { 'package-lock.json': JSON.stringify(lock) }),
  });
  await refuse('broken-package', withPackage('{'), 'dependencies-refused');
  await refuse('odd-package', withPackage({ dependencies: ['a'] }), 'dependencies-refused');
  for (const [i, spec] of [
    'github:a/b',
    'a/b',
    'git+ssh://git@x/y',
    'https://x/y.tgz',
    'file:../x',
    'link:x',
    '../x',
    './x.tgz',
    'workspace:*',
    'x.tgz',
  ].entries())
    await refuse(`foreign-${i}`, withPackage({ dependencies: { x: spec } }), 'dependencies-refused');
  await refuse(
    'override',
    withPackage({ dependencies: { x: '1' }, overrides: { y: { '.': '2', z: 'git+https://x/y' } } }),
    'dependencies-refused',
  );
  await refuse('old-lock', withPackage({ dependencies: { x: '1' } }, { lockfileVersion: 1, dependencies: {} }), 'dependencies-refused');
  await refuse('stale-lock', withPackage({ dependencies: { x: '1' } }, { lockfileVersion: 3, packages: {} }), 'dependencies-refused');
  await refuse('unlockable', withPackage({ dependencies: { 'big.js': '^999.0.0' } }), 'dependencies-unlocked');

  const harmless = make({
    source: await writeTree(join(folder, 'harmless'), withPackage({ type: 'module', devDependencies: { x: 'file:../y' } })),
  });
  t.equal((await harmless.start()).manifest.dependencies, null, 'development dependencies do not travel');
});

t.test('queue-xec: execAssets', async (t) => {
  const { make, folder } = await setUp(t, { 'task.js': 'main', 'lib/half.js': 'half', 'other/x.js': 'x' });
  const cwd = join(folder, 'task');
  const entry = { masterPath: '/task.js', name: 'task.js', workerPath: '/workplace/task.js' };
  const half = { masterPath: '/lib/half.js', name: 'half.js', workerPath: '/workplace/lib/half.js' };
  const publish = (files: (typeof entry)[], dependencies: string[] = []) => make({ cwd, source: { dependencies, files } }).start();

  const publication = await publish([half, entry]);
  t.same([publication.manifest.entry, paths(publication)], ['task.js', ['lib/half.js', 'task.js']], 'the common root is left out');
  const outside = await publish([entry, { ...half, workerPath: '/lib/half.js' }]);
  t.same(
    [outside.manifest.entry, paths(outside).sort()],
    ['workplace/task.js', ['lib/half.js', 'workplace/task.js']],
    'unless a file is elsewhere',
  );
  await publish([
    { ...entry, masterPath: 'task.js' },
    { ...half, masterPath: join(cwd, 'lib/half.js') },
  ]);
  const many = make({ cwd, source: { files: [entry, half], dependencies: ['big.js@7.0.1'] }, rememberIn: join(folder, 'exec.json') });
  const { dependencies } = (await many.start()).manifest;
  t.equal(dependencies?.packageJson, '{"dependencies":{"big.js":"7.0.1"}}');
  const lock = JSON.parse((await collect(many.blob(dependencies?.lock.sha256 ?? ''))).toString());
  t.equal(lock.packages['node_modules/big.js'].version, '7.0.1');

  const refuse = (files: (typeof entry)[], code: string, name: string, dependencies: string[] = []) =>
    t.rejects(publish(files, dependencies), { code }, name);
  await refuse([{ ...entry, workerPath: '/../escaped/task.js' }], 'asset-path-unsafe', 'out of the workplace');
  await refuse([{ ...entry, workerPath: '/workplace/../../x' }], 'asset-path-unsafe', 'out of the workplace, later');
  await refuse([entry, { ...entry, masterPath: '/lib/half.js', workerPath: '/workplace/b.js' }], 'task-entry-missing', 'two entries');
  await refuse([entry, { ...half, workerPath: '/workplace/task.js' }], 'asset-path-unsafe', 'two files in one place');
  await refuse([{ ...entry, masterPath: '/nothing.js' }], 'task-entry-missing', 'the entry is not there');
  await refuse([entry, { ...half, masterPath: '/nothing.js' }], 'task-folder-missing', 'a file is not there');
  await refuse([half], 'task-entry-missing', 'no entry, and no /src/task.js either');
  for (const name of ['../x', 'a b', '', 'https://x/y.tgz', 'x@github:a/b'])
    await refuse([entry], 'dependencies-refused', `dependency ${name}`, [name]);

  await writeTree(cwd, { 'src/task.js': 'by default' });
  t.same(paths(await publish([half])), ['lib/half.js', 'task.js'], '/src/task.js is the entry when none is named');
});
