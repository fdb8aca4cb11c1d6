import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { type Clock, systemClock } from '../../src/clock.js';
import { openLedger } from '../../src/ledger/open.js';
import { silentLog } from '../../src/log.js';
import { MasterFiles } from '../../src/master/files.js';
import { FolderStore } from '../../src/task/folder-store.js';
import { temporaryFolder } from '../ledger/engines.js';
import { ann, claimOne } from '../ledger/verbs.js';

const shaOf = (content: string | Buffer) => createHash('sha256').update(content).digest('hex');

async function openFiles(t: Test, clock: Clock = systemClock) {
  const folder = temporaryFolder(t);
  const ledger = await openLedger('memory:', {});
  const store = new FolderStore(join(folder, 'store'));
  const files = new MasterFiles({ ledger, store, clock, log: silentLog });
  t.teardown(async () => {
    await files.close();
    await ledger.close();
  });
  const stored = () =>
    readdirSync(join(folder, 'store'), { recursive: true, encoding: 'utf8' })
      .filter((name) => /^(files\/..\/|uploads\/)./.test(name))
      .map((name) => name.split('/').at(-1)?.slice(0, 64));
  const readAll = async (key: { id: string; lease: number }, sha256: string, offset = 0) => {
    let text = '';
    for await (const bytes of files.read(ann, key, sha256, offset)) text += Buffer.from(bytes).toString();
    return text;
  };
  return { folder, ledger, files, stored, readAll };
}

t.test('paths, bytes, streams and references of one content are one file', async (t) => {
  const { folder, ledger, files, stored, readAll } = await openFiles(t);
  writeFileSync(join(folder, 'in.txt'), 'content');
  const jobs = await files.stored([
    {
      id: 'a',
      data: 1,
      files: {
        path: join(folder, 'in.txt'),
        bytes: Buffer.from('content'),
        stream: Readable.from([Buffer.from('con'), Buffer.from('tent')]),
        ref: { sha256: shaOf('content'), size: 7 },
      },
    },
    { id: 'plain', data: 2 },
  ]);
  const ref = { sha256: shaOf('content'), size: 7 };
  t.strictSame(jobs[0]?.files, { path: ref, bytes: ref, stream: ref, ref });
  t.same(stored(), [ref.sha256]);
  await ledger.add(jobs, systemClock.now());
  const job = await claimOne(ledger, { now: systemClock.now() });
  t.equal(await readAll(job, ref.sha256), 'content');
  t.equal(await readAll(job, ref.sha256, 3), 'tent');
  await t.rejects(readAll({ ...job, lease: 9 }, ref.sha256), { code: 'file-unknown' });
  await t.rejects(readAll(job, shaOf('other')), { code: 'file-unknown' });
});

t.test('what is in the way of a path has the code of its cause, and no device is read', async (t) => {
  const { folder, files, stored } = await openFiles(t);
  mkdirSync(join(folder, 'dir'));
  for (const [path, code] of [
    [join(folder, 'none'), 'file-missing'],
    [join(folder, 'dir'), 'path-is-folder'],
    ['/dev/zero', 'file-missing'],
  ] as const)
    await t.rejects(files.put(path), { code, message: new RegExp(path) });
  await t.rejects(
    files.put(
      (async function* () {
        yield Buffer.from('half');
        throw new Error('cut');
      })(),
    ),
    /cut/,
  );
  t.same(stored(), [], 'nothing of it stays');
});

t.test('a path that thousands of jobs name is read once, and again when it has changed', async (t) => {
  const { folder, files } = await openFiles(t);
  const path = join(folder, 'in.txt');
  writeFileSync(path, 'one');
  utimesSync(path, 1, 1);
  const first = await files.put(path);
  t.equal(await files.put(path), first, 'the very same reference');
  writeFileSync(path, 'two');
  t.equal((await files.put(path)).sha256, shaOf('two'));
});

t.test('an upload in parts goes on where it was, and the whole must be what was announced', async (t) => {
  const { files, stored } = await openFiles(t);
  const sha256 = shaOf('abcdefgh');
  const part = (text: string) => Readable.from([Buffer.from(text)]);
  t.same(await files.receive(sha256, { offset: 0, size: 8 }, part('abc')), { length: 3, complete: false });
  t.same(await files.lengthOf(sha256), { length: 3, complete: false });
  await t.rejects(files.receive(sha256, { offset: 5, size: 8 }, part('fgh')), { code: 'upload-position', message: /3 bytes are here/ });
  await t.rejects(files.receive(sha256, { offset: 3, size: 8 }, part('defghijk')), { code: 'file-too-large' });
  t.same(await files.receive(sha256, { offset: 3, size: 8 }, part('defgh')), { length: 8, complete: true });
  t.same(await files.lengthOf(sha256), { length: 8, complete: true });
  t.same(await files.receive(sha256, { offset: 0, size: 8 }, part('never read')), { length: 8, complete: true });
  const other = shaOf('other');
  await t.rejects(files.receive(other, { offset: 0, size: 3 }, part('not')), { code: 'file-mismatch' });
  t.same(await files.lengthOf(other), { length: 0, complete: false }, 'it begins anew');
  t.same(stored().filter((name) => name === sha256).length, 1);
});

t.test('content that no job names goes after a day, and with it uploads that nobody goes on with', async (t) => {
  let now = systemClock.now();
  const clock: Clock = { now: () => now, wall: () => Date.now() + (now - systemClock.now()), after: systemClock.after.bind(systemClock) };
  const { folder, ledger, files, stored } = await openFiles(t, clock);
  const jobs = await files.stored([{ id: 'a', data: 1, files: { in: Buffer.from('kept') } }]);
  await ledger.add(jobs, now);
  await files.put(Buffer.from('unnamed'));
  await files.receive(shaOf('half'), { offset: 0, size: 9 }, Readable.from([Buffer.from('ha')]));
  await files.sweep();
  t.equal(stored().length, 3, 'a push may still be to come');
  now += 86_460_000;
  await files.sweep();
  t.same(stored(), [shaOf('kept')]);
  await ledger.delete(['a'], now);
  now += 60_000;
  await files.sweep();
  t.same(stored(), []);
  rmSync(join(folder, 'store'), { recursive: true });
  await files.sweep();
});

t.test('content that a killed Master stored and never entered is removed', async (t) => {
  const clock: Clock = { now: systemClock.now, wall: () => Date.now() + 2 * 86_400_000, after: systemClock.after.bind(systemClock) };
  const { folder, files, stored } = await openFiles(t, clock);
  const { sha256 } = await files.put(Buffer.from('known'));
  const orphan = shaOf('orphan');
  mkdirSync(join(folder, 'store', 'files', orphan.slice(0, 2)), { recursive: true });
  writeFileSync(join(folder, 'store', 'files', orphan.slice(0, 2), `${orphan}-99`), 'orphan');
  await files.sweep();
  t.same(stored(), [sha256]);
});

t.test('content that is missing from the store is told as that', async (t) => {
  const { folder, ledger, files, readAll } = await openFiles(t);
  await ledger.add(await files.stored([{ id: 'a', data: 1, files: { in: Buffer.from('lost') } }]), systemClock.now());
  const job = await claimOne(ledger, { now: systemClock.now() });
  rmSync(join(folder, 'store', 'files'), { recursive: true });
  await t.rejects(readAll(job, shaOf('lost')), { code: 'file-lost' });
});
