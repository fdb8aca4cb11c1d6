import { appendFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { tailLog } from '../../../src/cli/service/log-tail.js';
import { RotatingLog } from '../../../src/cli/service/rotating-log.js';
import { systemClock } from '../../../src/clock.js';
import { isAlive, markProcess, signalProcess } from '../../../src/kit/process-mark.js';
import { until } from '../../lab/until.js';

t.test('a log takes a bounded place, keeps lines whole, and goes on where it was', async (t) => {
  const file = join(t.testdir(), 'worker.log');
  const log = new RotatingLog(file, 1_000);
  for (let line = 0; line < 1_000; line += 1) {
    log.write(`line ${line} begins`);
    log.write(` and ends\n`);
  }
  log.close();
  const files = [file, ...[1, 2, 3, 4].map((age) => `${file}.${age}`)];
  t.ok(files.every((one) => existsSync(one)) && !existsSync(`${file}.5`));
  t.ok(files.every((one) => statSync(one).size <= 2_100));
  t.ok(
    files.every((one) => /^(line \d+ begins and ends\n)+$/.test(readFileSync(one, 'utf8'))),
    'no line is torn',
  );
  t.match(readFileSync(file, 'utf8'), /line 999 begins and ends\n$/);
  const again = new RotatingLog(file, 1_000);
  again.say('more');
  again.close();
  t.match(readFileSync(file, 'utf8'), /line 999 begins and ends\n\S+Z more\n$/);
  t.equal(statSync(file).mode & 0o077, 0);
});

t.test('who follows a log misses nothing when the file changes', async (t) => {
  const file = join(t.testdir(), 'worker.log');
  const log = new RotatingLog(file, 200);
  t.teardown(() => log.close());
  for (let line = 0; line < 30; line += 1) log.write(`early ${line}\n`);
  const ending = new AbortController();
  let seen = '';
  const write = (text: string) => {
    seen += text;
  };
  const following = tailLog({ file, lines: 12, follow: true, signal: ending.signal, clock: systemClock, write });
  await until(() => seen.includes('early 29'));
  t.match(seen, /^early 18\n[\s\S]*early 29\n$/, 'the last twelve, also over the change of files');
  for (let line = 0; line < 15; line += 1) log.write(`late ${line} ${'x'.repeat(5)}\n`);
  await until(() => seen.includes('late 14'));
  ending.abort();
  await following;
  t.same(
    [...seen.matchAll(/late (\d+) x/g)].map(([, line]) => Number(line)),
    Array.from({ length: 15 }, (_, line) => line),
  );
});

t.test('a long log is read in pieces, with characters whole', async (t) => {
  const file = join(t.testdir(), 'worker.log');
  const text = Array.from({ length: 20_000 }, (_, line) => `line ${line} costs 5 €\n`).join('');
  writeFileSync(`${file}.1`, text);
  writeFileSync(file, `${text}no end yet`);
  const read = async (lines: number) => {
    const pieces: string[] = [];
    const { signal } = new AbortController();
    await tailLog({ file, lines, follow: false, signal, clock: systemClock, write: (piece) => pieces.push(piece) });
    t.ok(
      pieces.every((piece) => piece.length <= 64 * 1024),
      `${pieces.length} pieces`,
    );
    return pieces.join('');
  };
  t.equal(await read(0), '');
  t.equal(await read(2), 'line 19998 costs 5 €\nline 19999 costs 5 €\n');
  t.ok((await read(20_000)) === text);
  t.ok((await read(20_001)) === `line 19999 costs 5 €\n${text}`);
  t.ok((await read(1_000_000)) === text + text);
});

t.test('who follows a log reads a character that is written in two parts', async (t) => {
  const file = join(t.testdir(), 'worker.log');
  const [first, ...rest] = Buffer.from('€\n');
  writeFileSync(file, 'early\nbegun');
  const ending = new AbortController();
  let seen = '';
  const write = (text: string) => {
    seen += text;
  };
  const following = tailLog({ file, lines: 1, follow: true, signal: ending.signal, clock: systemClock, write });
  await until(() => seen.startsWith('early\n'));
  appendFileSync(file, Buffer.from([...Buffer.from(': 5 '), first ?? 0]));
  await until(() => seen.includes(': 5 '));
  appendFileSync(file, Buffer.from(rest));
  await until(() => seen.endsWith('\n') && seen !== 'early\n');
  ending.abort();
  await following;
  t.equal(seen, 'early\nbegun: 5 €\n');
});

t.test('a process is told from another one with its number', async (t) => {
  const self = markProcess(process.pid);
  t.ok(self !== undefined && isAlive(self));
  t.notOk(isAlive({ pid: process.pid, mark: 'of another' }));
  t.notOk(signalProcess({ pid: process.pid, mark: 'of another' }, 'SIGKILL'), 'and is not signalled in its place');
  t.equal(markProcess(2 ** 22 + 1), undefined);
});
