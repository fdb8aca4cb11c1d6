import { execFile } from 'node:child_process';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.js';
import { textHash } from '../../src/task/canonical-json.js';
import { DependencyLayers, type DependencyLayersOptions, type LayerRequest } from '../../src/task/layers.js';
import { npmComplaint } from '../../src/task/npm.js';
import { until } from '../lab/until.js';
import { writeTree } from './fixtures.js';
import { home } from './home.js';
import { openRegistry, type Registry } from './registry.js';

const run = promisify(execFile);
const packageJson = '{"dependencies":{"scripted":"^1.0.0"}}';

function lockOf(entry: object, place = 'node_modules/scripted'): string {
  return JSON.stringify({ lockfileVersion: 3, packages: { '': { name: 'x', dependencies: { scripted: '^1.0.0' } }, [place]: entry } });
}

async function setUp(t: Test) {
  const folder = await home(t);
  const registry = await openRegistry(t, folder);
  const entry = {
    version: '1.0.0',
    resolved: 'http://127.0.0.1:9/evil/scripted.tgz',
    integrity: registry.integrity,
    hasInstallScript: true,
  };
  const request = (lock = lockOf(entry)): LayerRequest => ({ packageJson, lockSha256: textHash(lock), lock: async () => lock });
  const make = (options: Partial<DependencyLayersOptions> = {}) => new DependencyLayers({ folder: join(folder, 'layers'), ...options });
  return { folder, registry, entry, request, make };
}

const installs = ({ asked }: Registry) => asked.filter((path) => path.endsWith('.tgz')).length;

t.test('one lockfile, one layer, installed once', async (t) => {
  const { folder, registry, request, make } = await setUp(t);
  const layers = [make(), make(), make()];
  const made = await Promise.all([...layers, ...layers].map((one) => one.ensure(request())));
  t.same(new Set(made.map((layer) => layer.folder)).size, 1);
  t.equal(installs(registry), 1, 'six asked at once, one installed, from the registry of this machine');
  const [layer] = made;
  t.equal(await readFile(join(layer?.nodeModules ?? '', 'scripted/index.js'), 'utf8'), "module.exports = 'scripted';");
  await t.rejects(stat(join(layer?.nodeModules ?? '', 'scripted/ran.json')), { code: 'ENOENT' }, 'install scripts do not run');
  if (process.platform !== 'win32') t.equal((await stat(join(layer?.nodeModules ?? '', 'scripted/index.js'))).mode & 0o222, 0);

  const again = await make().ensure({ ...request(), lock: () => t.fail('the lockfile is not needed') as never });
  t.notOk(again.installed);
  t.same(
    (await readdir(join(folder, 'layers'))).filter((name) => /\.lock$|\.\d+\./.test(name)),
    [],
    'nothing unfinished is left',
  );
});

t.test('several processes ask at the same moment', async (t) => {
  const { folder, registry, request } = await setUp(t);
  const lock = await request().lock();
  const script = `
    const { DependencyLayers } = await import(${JSON.stringify(new URL('../../src/task/layers.js', import.meta.url).href)});
    const request = { packageJson: ${JSON.stringify(packageJson)}, lockSha256: ${JSON.stringify(textHash(lock))}, lock: async () => ${JSON.stringify(lock)} };
    console.log((await new DependencyLayers({ folder: ${JSON.stringify(join(folder, 'layers'))} }).ensure(request)).installed);`;
  const said = await Promise.all([1, 2, 3].map(() => run(process.execPath, ['--input-type=module', '-e', script])));
  t.same(said.map(({ stdout }) => stdout.trim()).sort(), ['false', 'false', 'true']);
  t.equal(installs(registry), 1);
});

t.test('what a killed process left does not stand in the way', async (t) => {
  const { folder, request, make } = await setUp(t);
  const first = await make().ensure(request());
  const lock = join(folder, 'layers', `${first.key}.lock`);
  const place = new URL('../../src/kit/process-mark.js', import.meta.url).href;
  const script = `const { placeSelf } = await import(${JSON.stringify(place)}); console.log(JSON.stringify(placeSelf()));`;
  const dead = (await run(process.execPath, ['--input-type=module', '-e', script])).stdout.trim();
  const { pid } = JSON.parse(dead) as { pid: number };
  await run('mv', [first.folder, join(folder, 'layers', `${first.key}.${pid}.0123456789ab`)]);
  await writeFile(lock, dead);
  // By this clock the lock never gets stale: its holder's identity must suffice.
  t.ok((await make({ clock: { ...systemClock, now: () => 1_000_000 } }).ensure(request())).installed);
  t.same((await readdir(join(folder, 'layers'))).sort(), [first.key, 'npm-cache'].sort());
});

t.test('install scripts run only where the owner allows them, and see no secret', async (t) => {
  const { request, make } = await setUp(t);
  process.env['PEERWORK_TEST_TOKEN'] = 'pw1.secret';
  t.teardown(() => delete process.env['PEERWORK_TEST_TOKEN']);
  const without = await make().ensure(request());
  const { nodeModules, key } = await make({ allowScripts: true }).ensure(request());
  t.not(key, without.key, 'a layer of its own');
  const seen = await readFile(join(nodeModules, 'scripted/ran.json'), 'utf8');
  t.notMatch(seen, 'pw1.secret');
});

t.test('a failed install says why and leaves nothing', async (t) => {
  const { folder, request, make, entry } = await setUp(t);
  const refuse = (lock: string, why: RegExp, name: string, code = 'dependencies-failed') =>
    t.rejects(make().ensure(request(lock)), { code, message: why }, name);
  await refuse(lockOf({ ...entry, integrity: `sha512-${Buffer.alloc(64).toString('base64')}` }), /EINTEGRITY/, 'other content than locked');
  await refuse(lockOf({ ...entry, version: '0.9.0' }), /not in sync/, 'lockfile and package.json disagree', 'dependencies-refused');
  await refuse('{', /not JSON/, 'no JSON', 'dependencies-refused');
  t.same(
    (await readdir(join(folder, 'layers'))).filter((name) => name !== 'npm-cache'),
    [],
  );
  t.ok((await make().ensure(request())).installed, 'and the next time is not spoilt by it');
});

t.test('a registry that does not answer: given up after a time, or at once when nobody waits', async (t) => {
  const { folder, registry, request, make } = await setUp(t);
  registry.silent = true;
  await t.rejects(make({ timeoutMs: 1_500 }).ensure(request()), { code: 'dependencies-failed', message: /1500 ms/ });
  const leaving = new AbortController();
  const before = registry.asked.length;
  const waiting = make().ensure(request(), leaving.signal);
  await until(() => registry.asked.length !== before);
  leaving.abort();
  await t.rejects(waiting, { code: 'cancelled' });
  const quiet = async () => (await readdir(join(folder, 'layers'))).every((name) => name === 'npm-cache');
  await until(quiet);
  const { stdout } = await run('ps', ['-eo', 'args']);
  t.notMatch(stdout, join(folder, 'layers'), 'no npm is left running');
});

t.test('layers that nobody uses go after a week', async (t) => {
  const { folder, request, make, entry } = await setUp(t);
  let ahead = 0;
  const keys = async () => (await readdir(join(folder, 'layers'))).filter((name) => name !== 'npm-cache').sort();
  const layers = make({ keep: 0, clock: { ...systemClock, wall: () => Date.now() + ahead } });
  const [idle, held] = ['11'.repeat(32), '22'.repeat(32)];
  await writeTree(join(folder, 'layers'), { [`${idle}/layer.json`]: '{}', [`${held}/layer.json`]: '{}' });
  const release = layers.hold(held);
  const first = await layers.ensure(request());
  t.same(await keys(), [idle, held, first.key].sort(), 'not before');
  ahead = 8 * 86_400_000;
  const second = await layers.ensure(request(lockOf({ ...entry, resolved: undefined })));
  t.same(await keys(), [held, second.key].sort());
  release();
});

t.test('what we understand of npm', async (t) => {
  t.equal(
    npmComplaint(
      'npm warn x\nnpm error code E404\nnpm error 404 Not Found - GET https://user:pw@r/x\nnpm error\nnpm error A complete log of this run',
    ),
    'code E404; 404 Not Found - GET https://r/x',
  );
  t.equal(npmComplaint('all is well'), undefined);
});
