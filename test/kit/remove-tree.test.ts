import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.js';
import { bytesBelow } from '../../src/kit/bytes-below.js';
import { Clearing, clearAtOnce, clearAway, freshFolder } from '../../src/kit/clearing.js';
import { removeTree } from '../../src/kit/remove-tree.js';
import { createLog, silentLog } from '../../src/log.js';
import { requireTools } from '../lab/require.js';

const MODULE = fileURLToPath(new URL('../../src/kit/remove-tree.js', import.meta.url));

/** Builds a chain of folders whose path exceeds the system's limit, from the inside out. */
function buildChain(folder: string, levels: number, name = 'd'.repeat(200)): void {
  const parts = join(folder, 'parts');
  mkdirSync(parts, { recursive: true });
  const [a, b] = [join(parts, 'a'), join(parts, 'b')];
  mkdirSync(a);
  writeFileSync(join(a, 'file'), 'x'.repeat(1000));
  for (let level = 0; level < levels; level += 1) {
    mkdirSync(b);
    renameSync(a, join(b, name));
    renameSync(b, a);
  }
  renameSync(a, join(folder, 'chain'));
}

function scratch(t: Test): string {
  const folder = join(t.testdir(), 'tree');
  mkdirSync(folder);
  return folder;
}

t.test('a chain of folders longer than any path goes, and counts as more than allowed before', async (t) => {
  const folder = scratch(t);
  buildChain(folder, 600);
  t.equal(await bytesBelow(folder, 1e9), Number.POSITIVE_INFINITY, 'what lies too deep to be counted is not nothing');
  t.equal(await removeTree(folder), undefined);
  t.notOk(existsSync(folder));
});

t.test('names that are not UTF-8, links, pipes, sockets and folders without permissions go; what links lead to stays', async (t) => {
  const folder = scratch(t);
  const outside = join(t.testdirName, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'kept'), 'kept');
  for (const name of [Buffer.from([0xff, 0xfe]), Buffer.from([0xc3]), Buffer.from('line\nend\n')])
    mkdirSync(Buffer.concat([Buffer.from(`${folder}/`), name]));
  writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0x80, 0x0a])]), 'x'.repeat(10));
  t.equal(await bytesBelow(folder, 1e9), 10, 'a file with such a name is counted');
  symlinkSync(outside, join(folder, 'link'));
  symlinkSync('/nowhere', join(folder, 'dangling'));
  spawnSync('mkfifo', [join(folder, 'pipe')]);
  mkdirSync(join(folder, 'shut/inner'), { recursive: true });
  writeFileSync(join(folder, 'shut/inner/file'), '');
  for (const each of ['shut/inner/file', 'shut/inner', 'shut']) chmodSync(join(folder, each), 0);
  chmodSync(folder, 0o500);
  t.equal(await removeTree(folder), undefined);
  t.same(readdirSync(outside), ['kept']);
});

t.test('a missing folder, a file and a link are nothing special', async (t) => {
  const dir = t.testdir({ file: 'x', target: {} });
  symlinkSync(join(dir, 'target'), join(dir, 'link'));
  for (const name of ['missing', 'missing/below', 'file', 'link', 'file/below'])
    t.equal(await removeTree(join(dir, name)), undefined, name);
  t.same(readdirSync(dir), ['target']);
});

t.test('another process may remove the same at the same time', async (t) => {
  const folder = scratch(t);
  for (let at = 0; at < 300; at += 1) {
    mkdirSync(join(folder, `${at % 10}`, `${at}`), { recursive: true });
    writeFileSync(join(folder, `${at % 10}`, `${at}`, 'file'), '');
  }
  t.same(await Promise.all([removeTree(folder), removeTree(folder), removeTree(folder)]), [undefined, undefined, undefined]);
  t.notOk(existsSync(folder));
});

t.test('many files in one folder neither fill the memory nor hold up the event loop', async (t) => {
  const folder = scratch(t);
  for (let at = 0; at < 20_000; at += 1) writeFileSync(join(folder, `${at}`), '');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  const before = process.memoryUsage().heapUsed;
  let turns = 0;
  let held = 0;
  const turning = setInterval(() => {
    turns += 1;
    if (turns !== 20) return;
    collect();
    held = process.memoryUsage().heapUsed;
  }, 1);
  t.equal(await removeTree(folder), undefined);
  clearInterval(turning);
  t.ok(turns > 20, `others had ${turns} turns meanwhile`);
  t.ok(held - before < 40_000_000, 'in the middle of it');
});

t.test('it stops where it is when the signal aborts, and says what is left', async (t) => {
  const folder = scratch(t);
  for (let at = 0; at < 2_000; at += 1) writeFileSync(join(folder, `${at}`), '');
  const stop = new AbortController();
  const removing = removeTree(folder, stop.signal);
  setTimeout(() => stop.abort(), 5);
  const remains = await removing;
  t.match(remains, { path: folder });
  t.equal(await removeTree(folder), undefined, 'the next try goes on');
});

t.test('immutable and append-only entries go where we are root', async (t) => {
  if (!requireTools(t, { chattr: 'e2fsprogs' }, { root: true })) return;
  const folder = scratch(t);
  mkdirSync(join(folder, 'a/b'), { recursive: true });
  writeFileSync(join(folder, 'a/b/file'), '');
  writeFileSync(join(folder, 'log'), '');
  const odd = Buffer.concat([Buffer.from(`${folder}/a/`), Buffer.from([0xff, 0x0a])]);
  writeFileSync(odd, '');
  buildChain(folder, 60);
  if (spawnSync('chattr', ['+i', join(folder, 'a/b/file')]).status !== 0) return t.comment('this file system has no attributes');
  spawnSync('chattr', ['+i', join(folder, 'a/b')]);
  spawnSync('chattr', ['+a', join(folder, 'log')]);
  spawnSync('sh', ['-c', `chattr +i "$(printf '\\377')"*`], { cwd: join(folder, 'a') });
  // The innermost folder whose path is still short enough.
  execFileSync('sh', ['-c', 'cd chain && for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do cd d*; done && chattr +i .'], { cwd: folder });
  spawnSync('chattr', ['+i', folder]);
  t.equal(await removeTree(folder), undefined);
  t.notOk(existsSync(folder));
});

t.test('what is mounted inside stays, the owner is told, and all else goes', async (t) => {
  if (!requireTools(t, { unshare: 'util-linux', mount: 'util-linux' }, { root: true })) return;
  const dir = t.testdir({ 'the owners': { precious: 'x' }, 'a tree': { file: '', deep: { mounted: {}, tmp: {}, file: '' } } });
  const script = `
    mount --bind "$1/the owners" "$1/a tree/deep/mounted" && mount -t tmpfs none "$1/a tree/deep/tmp" && touch "$1/a tree/deep/tmp/kept"
    exec "$2" --input-type=module -e 'const { removeTree } = await import(process.argv[1]); console.log(JSON.stringify(await removeTree(process.argv[2])))' "$3" "$1/a tree"`;
  const said = execFileSync('unshare', ['-m', 'sh', '-ec', script, 'sh', dir, process.execPath, MODULE], { encoding: 'utf8' });
  t.match(JSON.parse(said), { why: 'EBUSY', hint: /umount/ });
  t.same(readdirSync(join(dir, 'the owners')), ['precious']);
  t.same(readdirSync(join(dir, 'a tree')), ['deep']);
  t.same(readdirSync(join(dir, 'a tree/deep')).sort(), ['mounted', 'tmp']);
});

t.test("an ordinary user is told of another user's files, and the rest goes", async (t) => {
  if (!requireTools(t, { setpriv: 'util-linux' }, { root: true })) return;
  const dir = t.testdir({ tree: { mine: { file: '' }, theirs: { file: '' } } });
  chmodSync(dir, 0o755);
  for (const path of ['tree', 'tree/mine', 'tree/mine/file']) execFileSync('chown', ['4242:4242', join(dir, path)]);
  chmodSync(join(dir, 'tree/theirs'), 0o755);
  const program = 'const { removeTree } = await import(process.argv[1]); console.log(JSON.stringify(await removeTree(process.argv[2])))';
  const args = ['--reuid', '4242', '--regid', '4242', '--clear-groups', process.execPath, '--input-type=module', '-e', program];
  const reachable = spawnSync('setpriv', [...args.slice(0, 5), 'test', '-r', MODULE]).status === 0 && canReach(dir);
  if (!reachable) return t.comment('another user cannot reach this folder');
  const said = execFileSync('setpriv', [...args, MODULE, join(dir, 'tree')], { encoding: 'utf8' });
  t.match(JSON.parse(said), { why: /EACCES|EPERM/, hint: /as root/ });
  t.same(readdirSync(join(dir, 'tree')), ['theirs']);
});

function canReach(dir: string): boolean {
  return spawnSync('setpriv', ['--reuid', '4242', '--regid', '4242', '--clear-groups', 'test', '-w', join(dir, 'tree')]).status === 0;
}

t.test('a clearing works behind the back of who fills it, holds it up when it lags, and warns of what stays', async (t) => {
  const dir = t.testdir();
  const lines: string[] = [];
  const clearing = new Clearing(createLog({ level: 'warn', write: (line) => lines.push(line) }), systemClock);
  for (let at = 0; at < 30; at += 1) {
    const folder = join(dir, `job-${at}`);
    mkdirSync(folder);
    for (let file = 0; file < 50; file += 1) writeFileSync(join(folder, `${file}`), '');
    await clearing.add(folder);
    t.ok(readdirSync(dir).length <= 9, 'no more than eight wait');
  }
  await clearing.close();
  t.same(readdirSync(dir), []);
  t.same(lines, []);
});

t.test('a folder that cannot be freed is not needed: another name is taken', async (t) => {
  if (!requireTools(t, { unshare: 'util-linux' }, { root: true })) return;
  const dir = t.testdir({ free: { old: '' }, taken: { inner: {} } });
  t.equal(await freshFolder(join(dir, 'free'), silentLog), join(dir, 'free'));
  t.same(readdirSync(join(dir, 'free')), []);
  const clearingModule = MODULE.replace('remove-tree', 'clearing');
  const program = `const { freshFolder, clearAtOnce } = await import(process.argv[1]);
    const log = { warn: () => {} };
    console.log(JSON.stringify([await freshFolder(process.argv[2], log), await clearAtOnce(process.argv[2], log)]));`;
  const script = `mount -t tmpfs none "$1" && exec "$2" --input-type=module -e "$4" "$3" "$1"`;
  const taken = join(dir, 'taken');
  const said = execFileSync('unshare', ['-m', 'sh', '-ec', script, 'sh', taken, process.execPath, clearingModule, program], {
    encoding: 'utf8',
  });
  const [fresh, freed] = JSON.parse(said) as [string, boolean];
  t.match(fresh, /taken\.\d+\.[0-9a-f]{14}$/);
  t.ok(statSync(fresh).isDirectory());
  t.equal(freed, false);
  t.equal(await clearAway(fresh, silentLog), true);
  t.equal(await clearAtOnce(join(dir, 'never there'), silentLog), true);
  rmSync(taken, { recursive: true });
});
