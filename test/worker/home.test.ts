import { spawn } from 'node:child_process';
import { readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { takeHome } from '../../src/worker/home.js';

t.test('workers that share a home get a folder of their own each, and a free one again after they end', async (t) => {
  const folder = t.testdir();
  const first = await takeHome(folder);
  const second = await takeHome(folder);
  t.not(first.keyFile, second.keyFile);
  t.equal(first.store, second.store);
  await first.release();
  const third = await takeHome(folder);
  t.equal(third.keyFile, first.keyFile, 'and with it the same key');
  await Promise.all([second.release(), third.release()]);
});

t.test('the lock of a living process holds, that of a dead one does not', async (t) => {
  const folder = t.testdir();
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  const mine = await takeHome(folder);
  await mine.release();
  writeFileSync(join(folder, 'workers', '1', 'lock'), `${child.pid}\n`);
  const other = await takeHome(folder);
  t.not(other.keyFile, mine.keyFile);
  await other.release();
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
  const again = await takeHome(folder);
  t.equal(again.keyFile, mine.keyFile);
  await again.release();
});

t.test('a lock whose number now belongs to another process is taken over, with its key', async (t) => {
  const folder = t.testdir();
  const mine = await takeHome(folder);
  const lock = join(folder, 'workers', '1', 'lock');
  const written = readFileSync(lock, 'utf8');
  await mine.release();
  for (const stale of [
    written.replace(String(process.pid), '1'),
    written.replace(/@[\w-]+/, '@another-boot'),
    '',
    'x',
    '{}',
    `${process.pid}\n`,
  ]) {
    writeFileSync(lock, stale);
    const again = await takeHome(folder);
    t.equal(again.keyFile, mine.keyFile, stale);
    await again.release();
  }
  // The lock as an earlier version wrote it, before that process started.
  writeFileSync(lock, `${process.ppid}\n`);
  utimesSync(lock, new Date(0), new Date(0));
  const over = await takeHome(folder);
  t.equal(over.keyFile, mine.keyFile);
  await over.release();
});

t.test('folders of workers that live are passed over, and named', async (t) => {
  const folder = t.testdir();
  const first = await takeHome(folder);
  const passed: unknown[] = [];
  const second = await takeHome(folder, (...one) => passed.push(one));
  t.same(passed, [[join(folder, 'workers', '1'), process.pid]]);
  await Promise.all([first.release(), second.release()]);
});

t.test('a home that cannot be used is refused by the cause', async (t) => {
  const folder = t.testdir({ file: '' });
  await t.rejects(takeHome(join(folder, 'file')), { code: 'path-through-file' });
  await t.rejects(takeHome(join(folder, 'x'.repeat(300))), { code: 'path-too-long' });
});
