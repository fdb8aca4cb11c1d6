import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { openLedger } from '../../src/ledger/open.js';
import { SqliteDriver } from '../../src/ledger/sqlite.js';
import { until } from '../lab/until.js';
import { temporaryFolder } from './engines.js';

const WRITER = fileURLToPath(new URL('./crash-writer.js', import.meta.url));
const ROUNDS = 6;

function start(t: Test, url: string, ...more: string[]): { child: ChildProcess; lines: () => string[]; said: Promise<unknown> } {
  const child = spawn(process.execPath, [WRITER, url, ...more], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout.on('data', (data) => {
    text += data;
  });
  const said = once(child.stdout, 'data');
  // A line truncated by the kill was not acknowledged.
  return { child, said, lines: () => text.split('\n').slice(0, -1) };
}

async function kill(child: ChildProcess): Promise<void> {
  const closed = once(child, 'close');
  child.kill('SIGKILL');
  await closed;
}

t.test('kill -9 while writing: whatever was acknowledged is there', async (t) => {
  const file = join(temporaryFolder(t), 'ledger.db');
  const completed = new Set<string>();
  const added = new Set<string>();
  for (let round = 0; round < ROUNDS; round += 1) {
    const writer = start(t, `sqlite:${file}`);
    await until(() => writer.lines().some((line) => line.startsWith('=')));
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 80));
    await kill(writer.child);
    for (const line of writer.lines()) (line.startsWith('+') ? added : completed).add(line.slice(1));

    const driver = new SqliteDriver(file);
    t.strictSame(await driver.all('PRAGMA integrity_check'), [{ integrity_check: 'ok' }]);
    await driver.close();
    const ledger = await openLedger(`sqlite:${file}`);
    for (const id of added) if ((await ledger.get(id)) === undefined) t.fail(`${id} was added and is not there`);
    const settled = new Set((await ledger.settledAfter(0, 1_000_000)).map(({ job }) => job.id));
    for (const id of completed) if (!settled.has(id)) t.fail(`${id} was completed and is not`);
    const counts = await ledger.counts();
    t.equal(counts.completed, settled.size, 'the tally survived as well');
    await ledger.close();
  }
  t.ok(added.size > 0 && completed.size > 0, `${added.size} added, ${completed.size} completed`);
});

t.test('a ledger that a process has open is refused to others, until that process is gone', async (t) => {
  const file = join(temporaryFolder(t), 'ledger.db');
  const holder = start(t, `sqlite:${file}`, 'hold');
  await holder.said;
  t.strictSame(holder.lines(), ['open']);
  await t.rejects(openLedger(`sqlite:${file}`), { code: 'ledger-locked' });
  await kill(holder.child);

  const ledger = await openLedger(`sqlite:${file}`);
  await t.rejects(openLedger(`sqlite:${file}`), { code: 'ledger-locked' }, 'nor twice in one process');
  const second = start(t, `sqlite:${file}`, 'hold');
  await second.said;
  t.strictSame(second.lines(), ['ledger-locked'], 'the refusal has not released the lock');
  await ledger.add([{ id: 'a', data: null }], 0);
  await ledger.close();
  const again = await openLedger(`sqlite:${file}`);
  t.match(await again.get('a'), { state: 'ready' });
  await again.close();
});

t.test('the files are for their owner only', async (t) => {
  const file = join(temporaryFolder(t), 'ledger.db');
  const ledger = await openLedger(`sqlite:${file}`);
  await ledger.add([{ data: 'a secret' }], 0);
  for (const name of [file, `${file}-wal`]) t.equal(statSync(name).mode & 0o777, 0o600, name);
  await ledger.close();
  t.ok(readFileSync(file).includes('a secret'), 'closing leaves everything in one file');
});
