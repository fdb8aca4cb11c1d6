import { readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { bar, formatBytes, formatDuration, Meter, table } from '../../src/cli/figures.js';
import { OutcomeFile } from '../../src/cli/outcome-file.js';
import type { SettledJob } from '../../src/job/job.js';

const done: SettledJob = { id: 'a', state: 'completed', output: { x: 'ü' }, attempts: 1, worker: 'pi', startedAt: 1, finishedAt: 2 };
const failed: SettledJob = { id: 'b', state: 'failed', error: { code: 'timeout', message: 'too long' }, attempts: 3, finishedAt: 9 };

t.test('outcomes are appended, and known again', async (t) => {
  const path = join(t.testdir(), 'out.ndjson');
  const file = await OutcomeFile.open(path);
  t.equal(file.earlier.size, 0);
  await file.write(7, done);
  await file.write(8, failed);
  await file.close();
  t.equal(
    readFileSync(path, 'utf8'),
    '{"id":"a","settlement":7,"state":"completed","output":{"x":"ü"},"attempts":1,"worker":"pi","startedAt":1,"finishedAt":2}\n' +
      '{"id":"b","settlement":8,"state":"failed","error":{"code":"timeout","message":"too long"},"attempts":3,"finishedAt":9}\n',
  );
  const again = await OutcomeFile.open(path);
  t.match(again.earlier.get('b'), { state: 'failed', error: { code: 'timeout' }, attempts: 3 });
  await again.write(9, { ...done, id: 'c' });
  await again.close();
  t.equal(readFileSync(path, 'utf8').split('\n').length, 4);
});

t.test('each settlement of a job has a line, once, and the last one counts', async (t) => {
  const path = join(t.testdir(), 'out.ndjson');
  const again = async (...settlements: [number, SettledJob][]) => {
    const file = await OutcomeFile.open(path);
    for (const [settlement, job] of settlements) await file.write(settlement, job);
    await file.close();
    return readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => [JSON.parse(line).settlement, JSON.parse(line).state]);
  };
  const first = { ...failed, id: 'a' };
  t.same(await again([1, first]), [[1, 'failed']]);
  t.same(await again([1, first]), [[1, 'failed']], 'known');
  const both = [
    [1, 'failed'],
    [2, 'completed'],
  ];
  t.same(await again([2, { ...done, finishedAt: 20 }]), both);
  t.same(await again([2, { ...done, finishedAt: 20 }]), both, 'known');
  const file = await OutcomeFile.open(path);
  t.match(file.earlier.get('a'), { state: 'completed', settlement: 2 });
  await file.close();
  t.same(await again([2, { ...done, finishedAt: 30 }]), [...both, [2, 'completed']], 'a new ledger begins at 1 again');

  writeFileSync(path, `${JSON.stringify({ ...done, finishedAt: 30 })}\n`);
  t.same(await again([5, { ...done, finishedAt: 30 }]), [[undefined, 'completed']], 'a line of an older version says no number');
});

t.test('a last line that a crash cut off is removed, wherever it was cut', async (t) => {
  const path = join(t.testdir(), 'out.ndjson');
  const lines = [done, failed].map((job) => `${JSON.stringify(job)}\n`);
  const [first = '', second = ''] = lines;
  for (const length of [1, 10, second.length - 1]) {
    writeFileSync(path, first + second.slice(0, length));
    const file = await OutcomeFile.open(path);
    t.same([...file.earlier.keys()], ['a']);
    await file.write(8, failed);
    await file.close();
    t.same(
      readFileSync(path, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).id),
      ['a', 'b'],
    );
  }
});

t.test('a write that fails at any byte leaves no half line, and is made up for', async (t) => {
  const folder = t.testdir();
  const line = `${JSON.stringify({ id: 'a', settlement: 1, state: 'completed', output: { x: 'ü' }, attempts: 1, worker: 'pi', startedAt: 1, finishedAt: 2 })}\n`;
  const size = Buffer.byteLength(line);
  for (const cuts of [true, false])
    for (let failAt = 0; failAt < size; failAt += 1) {
      const path = join(folder, `${cuts}-${failAt}`);
      let room = size + failAt;
      let cutting = true;
      const fault = () => Object.assign(new Error('injected'), { code: 'ENOSPC' });
      const file = await OutcomeFile.open(path, async (name) => {
        const real = await open(name, 'a+');
        const write = async (bytes: Uint8Array, offset: number, length: number) => {
          if (room === 0) throw fault();
          const count = Math.min(length, room);
          room -= count;
          return real.write(bytes, offset, count);
        };
        const truncate = async (length?: number) => {
          if (!cutting) throw fault();
          await real.truncate(length);
        };
        return { write: write as typeof real.write, truncate, sync: () => real.sync(), close: () => real.close() };
      });
      cutting = cuts;
      await file.write(1, done);
      await new Promise((resolve) => setTimeout(resolve, 2));
      await file.write(2, { ...done, id: 'b' });
      await new Promise((resolve) => setTimeout(resolve, 2));
      room = Number.POSITIVE_INFINITY;
      cutting = true;
      await file.close();
      const again = await OutcomeFile.open(path);
      if (![...again.earlier.keys()].every((id, at) => id === ['a', 'b'][at]) || again.earlier.size !== 2) t.fail(`${cuts} at ${failAt}`);
      await again.close();
    }
});

t.test('ten thousand outcomes at once arrive whole and in order', async (t) => {
  const path = join(t.testdir(), 'out.ndjson');
  const file = await OutcomeFile.open(path);
  for (let n = 0; n < 10_000; n += 1) await file.write(n, { ...done, id: String(n), output: 'x'.repeat(500) });
  await file.close();
  const ids = readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).id);
  t.same(
    ids,
    Array.from({ length: 10_000 }, (_, n) => String(n)),
  );
});

t.test('figures for people', async (t) => {
  t.same([0, 949, 5_432, 59_000, 61_000, 3_720_000].map(formatDuration), ['0 ms', '949 ms', '5.4 s', '59 s', '1 m 01 s', '1 h 02 m']);
  t.same([0, 1023, 1536, 5 * 1024 ** 3].map(formatBytes), ['0 B', '1023 B', '1.5 KiB', '5.0 GiB']);
  t.equal(bar(0.5, 4), '██░░');
  t.equal(
    table([
      ['a', 'bb'],
      ['ccc', 'd'],
    ]),
    'a    bb\nccc  d',
  );
  let now = 0;
  const meter = new Meter(() => now);
  for (now = 100; now <= 20_000; now += 100) meter.add(5);
  now = 20_000;
  t.equal(Math.round(meter.perSecond), 51, 'over the last ten seconds');
  now = 40_000;
  t.equal(meter.perSecond, 0);
});
