import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { readDotenv } from '../../src/cli/options.js';
import { errorTable, PeerworkError } from '../../src/errors.js';
import { fileError, listenError } from '../../src/kit/system-error.js';
import { openLedger } from '../../src/ledger/open.js';
import { createLog } from '../../src/log.js';
import { takeHome } from '../../src/worker/home.js';
import { requireTools } from '../lab/require.js';
import { OwnersFolder } from '../lab/service.js';

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (thrown: unknown) => (thrown instanceof PeerworkError ? thrown.code : String(thrown)),
  );

t.test('each code of the system is a cause of its own, the others are told as they are', async (t) => {
  const of = (code: string) => fileError(Object.assign(new Error(`${code}: no`), { code }), 'home-unusable', '/x').code;
  const groups = ['EACCES', 'EROFS', 'ENOENT', 'ENOTDIR', 'EISDIR', 'ELOOP', 'ENAMETOOLONG', 'EMFILE', 'ENOSPC', 'EIO', 'EBUSY', 'ENOMEM'];
  t.equal(new Set(groups.map(of)).size, groups.length);
  t.equal(of('EPERM'), of('EACCES'));
  t.equal(of('EDQUOT'), 'disk-full');
  t.equal(of('EWHATEVER'), 'home-unusable');
  const ports = (code: string) => listenError(Object.assign(new Error(code), { code }), 'address-unusable', '0.0.0.0:80').code;
  t.same(['EADDRINUSE', 'EACCES', 'EADDRNOTAVAIL', 'ENOTFOUND'].map(ports), [
    'address-unusable',
    'port-denied',
    'address-absent',
    'host-unknown',
  ]);
});

t.test('what is said to do about a home helps', async (t) => {
  const folder = t.testdir({ file: '' });
  const home = join(folder, 'file');
  t.equal(await codeOf(takeHome(home)), 'path-through-file');
  renameSync(home, join(folder, 'away'));
  const taken = await takeHome(home);
  await taken.release();
  symlinkSync('loop', join(folder, 'loop'));
  t.equal(await codeOf(readFile(join(folder, 'loop')).catch((error) => Promise.reject(fileError(error, 'home-unusable')))), 'path-loop');
  t.equal(await codeOf(takeHome(join(folder, 'x'.repeat(300)))), 'path-too-long');
});

t.test('what is said to do about a ledger helps', async (t) => {
  const folder = t.testdir({ 'notes.db': 'These are notes and no ledger at all, whatever the name of the file may say.\n'.repeat(20) });
  const url = (name: string) => `sqlite:${join(folder, name)}`;
  t.equal(await codeOf(openLedger(url('notes.db'))), 'ledger-damaged-file');
  renameSync(join(folder, 'notes.db'), join(folder, 'away'));
  await (await openLedger(url('notes.db'))).close();
  mkdirSync(join(folder, 'folder.db'));
  t.equal(await codeOf(openLedger(url('folder.db'))), 'path-is-folder');
  t.equal(await codeOf(openLedger(url('none/jobs.db'))), 'file-missing');
  mkdirSync(join(folder, 'none'));
  const one = await openLedger(url('none/jobs.db'));
  t.equal(await codeOf(openLedger(url('none/jobs.db'))), 'ledger-locked');
  t.notMatch(errorTable['ledger-locked'].hint, '--home');
  await one.close();
  await (await openLedger(url('none/jobs.db'))).close();
});

t.test('a .env of another encoding is named, and read once it is converted', async (t) => {
  const folder = t.testdir();
  const file = join(folder, '.env');
  const text = 'token=pw1.x\nname=ünï\n';
  for (const bytes of [
    Buffer.from(`\ufeff${text}`, 'utf16le'),
    Buffer.from(text, 'utf16le'),
    Buffer.from(`\ufeff${text}`, 'utf16le').swap16(),
    Buffer.from(text, 'latin1'),
  ]) {
    writeFileSync(file, bytes);
    await t.rejects(readDotenv(file), { code: 'dotenv-encoding', message: /UTF-16|at offset/ });
  }
  writeFileSync(file, `\ufeff${text}`);
  t.same(await readDotenv(file), { token: 'pw1.x', name: 'ünï' }, 'UTF-8, with the mark that Windows puts in front');
  rmSync(file);
  mkdirSync(file);
  t.equal(await codeOf(readDotenv(file)), 'path-is-folder');
});

t.test('a tracker that cannot listen says why, and what is said helps', async (t) => {
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  t.match(await owner.type('tracker', '--host', '192.0.2.1', '--port', '0'), { code: 2, stderr: /no such address.*\[address-absent\]/ });
  const tracker = owner.begin('tracker', '--host', '127.0.0.1', '--port', '0');
  const url = await new Promise<string>((resolve) => tracker.stdout?.once('data', (chunk) => resolve(String(chunk).trim())));
  t.teardown(() => tracker.kill());
  const { port } = new URL(url);
  t.match(await owner.type('tracker', '--host', '127.0.0.1', '--port', port), { code: 2, stderr: /EADDRINUSE.*\[address-unusable\]/ });
});

t.test('a warning whose line has a code says what to do', async (t) => {
  const lines: string[] = [];
  const log = createLog({ level: 'debug', write: (line) => lines.push(line) });
  log.warn('no', { code: 'master-absent' });
  log.error('no', { error: new PeerworkError('ice-failed', 'x') });
  log.info('no', { code: 'master-absent' });
  log.warn('no', { code: 'master-absent', hint: 'that' });
  t.match(lines[0], `hint=${JSON.stringify(errorTable['master-absent'].hint)}`);
  t.match(lines[1], `hint=${JSON.stringify(errorTable['ice-failed'].hint)}`);
  t.notMatch(lines[2], 'hint=');
  t.match(lines[3], /hint=that$/, 'its own');
  t.equal(lines[3]?.match(/hint=/g)?.length, 1);
});

t.test('a folder that cannot be made is told of with what is in the way, not as missing', async (t) => {
  if (!requireTools(t, { unshare: 'util-linux', mount: 'util-linux' }, { root: true })) return;
  const folder = t.testdir({ place: {} });
  const program = [
    "const { mkdir } = await import('node:fs/promises');",
    `const { fileError } = await import(${JSON.stringify(new URL('../../src/kit/system-error.js', import.meta.url).href)});`,
    "await mkdir('place/a/b', { recursive: true }).catch((error) => console.log(fileError(error, 'internal').code));",
  ].join('\n');
  const script = 'mount -t tmpfs -o ro none place; exec "$@"';
  const words = ['-m', 'sh', '-ec', script, 'sh', process.execPath, '--input-type=module', '-e', program];
  t.equal(execFileSync('unshare', words, { cwd: folder, encoding: 'utf8' }).trim(), 'file-system-read-only');
  t.match(fileError(await mkdir(join(folder, 'a', 'b')).catch((error) => error), 'internal'), { code: 'file-missing' });
});
