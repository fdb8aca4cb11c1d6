import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Clock, systemClock } from '../../src/clock.js';
import { isKnownDead, type PlacedProcess, placeSelf } from '../../src/kit/process-mark.js';
import { isMissing } from '../../src/kit/system-error.js';
import { underLock } from '../../src/task/folder-lock.js';
import { ManualClock } from '../swarm/manual-clock.js';
import { home } from './home.js';

const { signal } = new AbortController();
/** Its timers fire, but its time stands still: nothing ever looks stale. */
const frozenClock: Clock = { ...systemClock, now: () => 1_000_000 };
const take = (file: string, clock: Clock) => underLock(file, { done: async () => undefined, work: async () => 'mine', clock, signal });

/** A process that holds the lock and works forever. */
async function startHolder(t: Test, file: string): Promise<ChildProcess> {
  const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
  const script = `
    const { underLock } = await import(${url('../../src/task/folder-lock.js')});
    const { systemClock: clock } = await import(${url('../../src/clock.js')});
    setInterval(() => {}, 1_000);
    await underLock(${JSON.stringify(file)}, {
      clock, signal: new AbortController().signal, done: async () => undefined,
      work: () => { console.log('works'); return new Promise(() => {}); },
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

t.test('the lock of a process that was killed is had at once, that of a living one when it is let go', async (t) => {
  const file = join(await home(t), 'a.lock');
  const child = await startHolder(t, file);
  const taken = take(file, frozenClock);
  const early = await Promise.race([taken, new Promise((resolve) => setTimeout(resolve, 500, 'waits'))]);
  t.equal(early, 'waits');
  child.kill('SIGKILL');
  t.equal(await taken, 'mine', 'although the lock is not found to be old');
  await t.rejects(stat(file), { code: 'ENOENT' });
});

t.test('a holder of which nothing can be known is watched for ten seconds', async (t) => {
  const file = join(await home(t), 'a.lock');
  const self = placeSelf();
  const gone = { ...self, pid: 2 ** 30 };
  const texts = {
    'of another machine': JSON.stringify({ ...gone, host: 'elsewhere' }),
    'of another container': JSON.stringify({ ...gone, numbers: 'pid:[1]' }),
    'of an earlier version': '4711',
    'cut off in the middle': '{"pid":12',
  };
  for (const [whose, text] of Object.entries(texts)) {
    await writeFile(file, text);
    const clock = new ManualClock();
    let ended = false;
    const taken = take(file, clock).finally(() => {
      ended = true;
    });
    const look = async () => {
      await clock.pass(200);
      // Checks of the file are system calls, which our clock does not drive.
      for (let turns = 0; turns < 5; turns += 1) await stat(file).catch(() => {});
    };
    for (let ms = 0; ms < 8_000; ms += 200) await look();
    t.notOk(ended, `a lock ${whose} is respected`);
    t.equal(await readFile(file, 'utf8'), text);
    while (!ended) await look();
    t.equal(await taken, 'mine');
  }
});

t.test('who is known to have ended', async (t) => {
  const self = placeSelf();
  t.equal(self.host, hostname());
  t.notOk(isKnownDead(self));
  const cases: readonly [string, boolean, Partial<PlacedProcess>][] = [
    ['a number that nobody has', true, { pid: 2 ** 30 }],
    ['our number, given to somebody before us', true, { mark: self.mark.replace(/^./, '0') }],
    ['another machine', false, { pid: 2 ** 30, host: 'elsewhere' }],
    ['nothing known but the number', false, { pid: 2 ** 30, mark: '' }],
  ];
  for (const [whose, dead, change] of cases) t.equal(isKnownDead({ ...self, ...change }), dead, whose);
  if (process.platform !== 'linux') return;
  const earlier = self.mark.replace(/@.*/, '@5dc5bd1e-0000-4000-8000-000000000000');
  t.ok(isKnownDead({ ...self, mark: earlier }), 'before the machine was started');
  t.ok(isKnownDead({ ...self, mark: earlier, numbers: 'pid:[1]' }), 'in whichever container');
  t.notOk(isKnownDead({ ...self, pid: 2 ** 30, numbers: 'pid:[1]' }), 'a container that may be there still');
});

t.test('a lock is not left behind by work that fails', async (t) => {
  const file = join(await home(t), 'a.lock');
  const failing = underLock(file, { done: async () => undefined, work: () => Promise.reject(new Error('no')), clock: systemClock, signal });
  await t.rejects(failing, { message: 'no' });
  t.ok(
    await stat(file).then(
      () => false,
      (error: unknown) => isMissing(error),
    ),
  );
});
