import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createWhole, isAbandoned, unfinishedName, writeWhole } from '../../src/kit/whole-file.js';
import { requireTools } from '../lab/require.js';

const src = new URL('../../src', import.meta.url).pathname;

t.test('a file is replaced as a whole, for its owner only, and nothing else is left', async (t) => {
  const folder = t.testdir({ file: 'old' });
  const file = join(folder, 'file');
  await writeWhole(file, 'new');
  t.equal(readFileSync(file, 'utf8'), 'new');
  t.equal(statSync(file).mode & 0o777, 0o600);
  await writeWhole(file, Buffer.from([0, 255]), { durable: true, mode: 0o640 });
  t.same([...readFileSync(file)], [0, 255]);
  t.equal(statSync(file).mode & 0o777, 0o640);
  t.same(readdirSync(folder), ['file']);
  mkdirSync(join(folder, 'taken/inner'), { recursive: true });
  await t.rejects(writeWhole(join(folder, 'taken'), 'x'));
  await t.rejects(writeWhole(join(folder, 'missing/file'), 'x'), { code: 'ENOENT' });
  t.same(readdirSync(folder), ['file', 'taken'], 'a failure leaves no draft');
});

t.test('of many that create a file at once one succeeds, and no reader sees it empty', async (t) => {
  const folder = t.testdir();
  for (let round = 0; round < 20; round += 1) {
    const file = join(folder, `${round}`);
    const made = await Promise.all(
      Array.from({ length: 10 }, async (_, at) => {
        const won = await createWhole(file, `maker ${at}`);
        return won || readFileSync(file, 'utf8').startsWith('maker ') ? won : 'empty';
      }),
    );
    t.equal(made.filter((won) => won === true).length, 1);
    t.notOk(made.includes('empty'));
  }
  t.equal(readdirSync(folder).length, 20, 'no drafts are left');
});

t.test('an unfinished name is abandoned when its process is gone, also where a new one has the same number', async (t) => {
  const mine = unfinishedName('x');
  t.match(mine, /^x\.\d+\.[0-9a-f]{14}$/);
  t.notOk(isAbandoned(mine));
  t.ok(isAbandoned(`x.${process.pid}.0123456789ab`), 'a Worker in a container is number 1 at every start');
  t.ok(isAbandoned(`x.${spawnSync(process.execPath, ['-e', '']).pid}.0123456789ab`));
  for (const name of ['x', 'x.1', 'x.0.0123456789ab', 'x.notapid.0123456789ab']) t.notOk(isAbandoned(name), name);
});

t.test('on a full disk every file keeps what it held, the error says so, and it goes on when there is room', async (t) => {
  if (!requireTools(t, { unshare: 'util-linux', mount: 'util-linux' }, { root: true })) return;
  const program = `
    import { readFileSync, readdirSync, rmSync, writeFileSync, mkdirSync } from 'node:fs';
    const src = process.argv[1];
    const load = (path) => import(src + '/' + path);
    const { writeDotenv } = await load('cli/dotenv-file.js');
    const { writeCredentials, readCredentials } = await load('wires/dory/source/credentials.js');
    const { writeRecord, readRecord } = await load('cli/service/record.js');
    const { loadOrCreateKeyFile } = await load('swarm/key-file.node.js');
    const { SeenVersions } = await load('task/seen-versions.js');
    const { ImageRecord } = await load('containers/image-record.js');
    const { takeHome } = await load('worker/home.js');
    const { Backlog } = await load('wires/queue-xec/source/backlog.js');
    const { Journal } = await load('wires/dory/source/journal.js');
    const silent = { error() {}, warn() {}, info() {}, debug() {} };
    const clock = { now: () => Date.now(), wall: () => Date.now() };
    const long = 'x'.repeat(6_000);
    const record = (name) => ({ name, keeper: 'background', home: '/h', folder: '/f', dotenv: long, drainMs: 1, env: {}, installedAt: 1 });
    const versions = () => new SeenVersions('versions.json', clock);
    const seen = versions();
    const admit = (version, by = seen) => by.admit('p'.repeat(5_000), 'c', version, String(version).repeat(64).slice(0, 64));
    const credentials = (label) => ({ apiBaseUrl: 'http://x', apiKey: 'dwk_' + label, label: label.repeat(400) });
    const steps = {
      dotenv: (value) => writeDotenv('.env', { VALUE: value + long }),
      credentials: (value) => writeCredentials(credentials(value), 'dory/credentials'),
      record: (value) => writeRecord('service', record(value)),
      versions: (value) => admit(value === 'a' ? 1 : 2),
      key: (value) => loadOrCreateKeyFile('keys/' + value),
      home: (value) => takeHome('homes/' + value),
    };
    const backlog = await Backlog.open('backlog', 1, silent);
    const journal = await Journal.open('.', silent);
    mkdirSync('keys'); mkdirSync('homes/b/workers/1', { recursive: true });
    for (const step of Object.values(steps)) await step('a');
    const look = async () => ({ dotenv: readFileSync('.env', 'utf8')[6], credentials: readCredentials('dory/credentials').apiKey, record: (await readRecord('service')).name });
    // Fills the disk to the last byte.
    for (let size = 1 << 16; size >= 1; size >>= 1) for (let at = 0; ; at += 1) try { writeFileSync('filler-' + size + '-' + at, Buffer.alloc(size)); } catch { break; }
    const failed = {};
    for (const [name, step] of Object.entries(steps)) failed[name] = await Promise.resolve().then(() => step('b')).then(() => 'done', (error) => error.code);
    await backlog.add('sealed');
    await journal.put({ runId: 'r', role: 'helper', workerId: 'w' });
    const then = await look();
    const drafts = readdirSync('.').filter((name) => /\\.\\d+\\.[0-9a-f]{14}$/.test(name));
    for (const name of readdirSync('.')) if (name.startsWith('filler-')) rmSync(name);
    for (const step of Object.values(steps)) await step('b');
    await backlog.add('another');
    const kept = (await Backlog.open('backlog', 2, silent)).size;
    const old = await admit(1, versions()).then(() => 'known', (error) => error.code);
    console.log(JSON.stringify({ failed, then, drafts, now: await look(), kept, old }));`;
  const script = 'mount -t tmpfs -o size=512k none "$1" && cd "$1" && exec "$2" --input-type=module -e "$3" "$4"';
  const args = ['-m', 'sh', '-ec', script, 'sh', t.testdir(), process.execPath, program, src];
  const { stdout, stderr, status } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 240_000 });
  t.equal(status, 0, stderr);
  const said = JSON.parse(stdout);
  t.match(said.failed, {
    dotenv: 'disk-full',
    credentials: 'disk-full',
    record: 'disk-full',
    versions: 'disk-full',
    key: 'disk-full',
  });
  t.same(said.then, { dotenv: 'a', credentials: 'dwk_a', record: 'a' });
  t.same(said.drafts, []);
  t.same(said.now, { dotenv: 'b', credentials: 'dwk_b', record: 'b' });
  t.equal(said.kept, 2, 'a job that was kept in memory is written with the next');
  t.equal(said.old, 'known');
});
