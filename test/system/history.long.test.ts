import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { HistoryEntry } from '../../src/ledger/ledger.js';
import { openLedger } from '../../src/ledger/open.js';
import { Cable } from '../lab/cable.js';
import { Grid } from '../lab/grid.js';
import { requireThat } from '../lab/require.js';
import { until } from '../lab/until.js';

const TASK = `
import { setTimeout as sleep } from 'node:timers/promises';
import { existsSync } from 'node:fs';
export default async ({ end, ms = 0, lines = 1 }, { progress, log, signal }) => {
  for (let n = 1; n <= lines; n += 1) {
    console.log('line ' + n + ' of ' + lines);
    progress(n / lines);
    if (ms > 0) await sleep(ms);
  }
  process.stderr.write('last word');
  switch (end) {
    case 'throw': throw new Error('no more');
    case 'exit': process.exit(3);
    case 'kill': process.kill(process.pid, 'SIGKILL'); for (;;);
    case 'memory': { const all = []; for (;;) all.push(new Array(1e6).fill(all.length)); }
    case 'spin': for (;;);
    case 'wait': try { await sleep(600_000, undefined, { signal }); } finally { console.log('cleaning up'); }
    case 'reject': Promise.reject(new TypeError('nobody waits for this')); await sleep(600_000);
  }
  return 'done';
};
`;

function writeTask(grid: Grid): void {
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), TASK);
}

async function historyIn(file: string): Promise<{ of(id: string): Promise<HistoryEntry[]>; close(): Promise<void> }> {
  const ledger = await openLedger(`sqlite:${file}`);
  return { of: (id) => ledger.history(id, 0, 1_000), close: () => ledger.close() };
}

function wordsOf(entries: readonly HistoryEntry[]): string[] {
  return entries.map(({ kind, body }) => {
    if (kind === 'progress') return `progress ${JSON.stringify(body)}`;
    const { line, code } = body as { line?: string; code?: string };
    return kind === 'error' ? `error ${code}` : (line ?? '');
  });
}

t.test('10,000 quick jobs: the line and the progress of each are in its history', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  writeTask(grid);
  const jobs = 10_000;
  const lines = Array.from({ length: jobs }, (_, n) => JSON.stringify({ id: `job-${n}`, data: {} }));
  writeFileSync(join(grid.folder, 'jobs.ndjson'), `${lines.join('\n')}\n`);
  await grid.tracker();
  const { program, token } = await grid.master(['--task', 'task', '--input', 'jobs.ndjson', '--ledger', 'sqlite:l.db']);
  grid.worker(token, 'quick', ['--concurrency', '2']);
  t.match(await program.ended, { code: 0 });
  const history = await historyIn(join(grid.folder, 'l.db'));
  t.teardown(() => history.close());
  let whole = 0;
  for (let n = 0; n < jobs; n += 1) {
    const words = wordsOf(await history.of(`job-${n}`)).join(', ');
    if (words === 'line 1 of 1, progress 1, last word') whole += 1;
    else t.comment(`job-${n}: ${words}`);
  }
  t.equal(whole, jobs);
});

t.test('however a run ends, its lines and its last progress are in the history before its end', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  writeTask(grid);
  await grid.tracker();
  const serving = await grid.master(['--task', 'task', '--http', '127.0.0.1:0', '--ledger', 'sqlite:l.db']);
  const [, api = ''] = /Dashboard: (http:\/\/\S+)\//.exec(await serving.program.line(/Dashboard: /)) ?? [];
  const ask = async (path: string, init?: RequestInit) => (await fetch(`${api}/v1/jobs${path}`, init)).json();
  const worker = grid.worker(serving.token, 'w', ['--concurrency', '2', '--memory-mb', '128']);
  const ends = ['throw', 'exit', 'kill', 'memory', 'reject', 'spin'] as const;
  const data = (end: string) => ({ end, lines: 60 });
  const body = [
    ...ends.map((end) => ({ id: end, data: data(end), attempts: 1, ...(end === 'spin' && { timeoutMs: 1_500 }) })),
    { id: 'completed', data: data('') },
    { id: 'cancelled', data: data('wait') },
  ];
  await ask('', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const entries = async (id: string) => ((await ask(`/${id}/history`)) as { entries: HistoryEntry[] }).entries;
  await until(async () => wordsOf(await entries('cancelled')).includes('line 60 of 60'));
  await ask('/cancelled/cancel', { method: 'POST' });
  await until(async () => wordsOf(await entries('cancelled')).includes('cleaning up'));
  const codes: Record<string, string> = { exit: 'exited', kill: 'crashed', memory: 'memory', spin: 'timeout' };
  const expected = Array.from({ length: 60 }, (_, n) => `line ${n + 1} of 60`);
  for (const end of [...ends, 'completed']) {
    await until(async () => ((await ask(`/${end}`)) as { settled?: unknown }).settled !== undefined);
    const words = wordsOf(await entries(end));
    t.same(
      words.filter((word) => /^line/.test(word)),
      expected,
      end,
    );
    t.equal(words.filter((word) => /^progress/.test(word)).at(-1), 'progress 1', end);
    // The end of that line was never written before the process was gone.
    if (!['kill', 'memory', 'spin'].includes(end)) t.ok(words.includes('last word'), end);
    if (end === 'throw')
      t.ok(
        words.some((word) => /^ +at .*task\.mjs/.test(word)),
        'the stack',
      );
    if (end !== 'completed') t.equal(words.at(-1), `error ${codes[end] ?? 'task-threw'}`);
  }

  // The Worker stops: the run is given back, together with its log.
  const back = [{ id: 'back', data: data('wait') }];
  await ask('', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(back) });
  await until(async () => wordsOf(await entries('back')).includes('line 60 of 60'));
  worker.signal('SIGINT');
  worker.signal('SIGINT');
  await worker.ended;
  await until(async () => ((await ask('/back')) as { state: string }).state === 'ready');
  t.equal(wordsOf(await entries('back')).filter((word) => /^line/.test(word)).length, 60);
});

t.test('over a link that is cut, and by a Worker that is killed after the run', async (t) => {
  if (!requireThat(t, process.getuid?.() === 0, 'cutting a cable needs root and iproute2')) return;
  const grid = new Grid();
  t.teardown(() => grid.close());
  const cable = new Cable();
  t.teardown(() => cable.close());
  writeTask(grid);
  const jobs = [
    { id: 'during', data: { lines: 30, ms: 100, end: '' } },
    { id: 'failing', data: { lines: 30, ms: 100, end: 'throw' }, attempts: 1 },
    { id: 'beyond', data: { lines: 200, ms: 100, end: '' } },
  ];
  writeFileSync(join(grid.folder, 'jobs.ndjson'), jobs.map((job) => JSON.stringify(job)).join('\n'));
  await grid.tracker(0, { prefix: cable.inside('a'), host: cable.address('a') });
  const { program, token } = await grid.master(['--task', 'task', '--input', 'jobs.ndjson', '--ledger', 'sqlite:l.db'], {
    prefix: cable.inside('a'),
  });
  const worker = grid.worker(token, 'far', ['--concurrency', '3', '--log-level', 'debug'], { prefix: cable.inside('b') });
  await program.line(/connected/);
  await sleep(2_500);
  cable.cut();
  await worker.line(/lost the Master|disconnected|link/i);
  await sleep(8_000);
  worker.signal('SIGKILL');
  await worker.ended;
  cable.mend();
  const again = grid.worker(token, 'far', ['--concurrency', '3'], { prefix: cable.inside('b') });
  t.ok(again);
  await program.ended;
  const history = await historyIn(join(grid.folder, 'l.db'));
  t.teardown(() => history.close());
  for (const id of ['during', 'failing']) {
    const words = wordsOf(await history.of(id));
    t.same(
      words.filter((word) => /^line/.test(word)),
      Array.from({ length: 30 }, (_, n) => `line ${n + 1} of 30`),
      id,
    );
    t.equal(words.filter((word) => /^progress/.test(word)).at(-1), 'progress 1', id);
  }
});

for (const killed of [false, true])
  t.test(
    `a job is cancelled while its outcome cannot be brought: the last lines come, ${killed ? 'from a Worker that was killed' : 'each once'}`,
    async (t) => {
      const grid = new Grid();
      t.teardown(() => grid.close());
      writeTask(grid);
      await grid.tracker();
      const serve = async () => {
        const { program, token } = await grid.master(['--task', 'task', '--http', '127.0.0.1:0', '--ledger', 'sqlite:l.db']);
        const [url = ''] = /http:\/\/[^/\s]+/.exec(await program.line(/Dashboard: /)) ?? [];
        const json = async (path: string) => (await fetch(`${url}/v1/jobs/lone${path}`)).json();
        const words = async () => wordsOf(((await json('/history')) as { entries: HistoryEntry[] }).entries);
        return { program, token, url, json, words };
      };
      const first = await serve();
      const body = JSON.stringify([{ id: 'lone', data: { lines: 40, ms: 50, end: 'throw' } }]);
      await fetch(`${first.url}/v1/jobs`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
      const worker = grid.worker(first.token, 'w', ['--concurrency', '1']);
      await until(async () => (await first.words()).includes('line 3 of 40'));
      await first.program.stop('SIGKILL');
      await worker.line(/result.*lone/);
      if (killed) {
        // By then the outcome is on disk.
        await sleep(1_000);
        await worker.stop('SIGKILL');
      }
      const ledger = await openLedger(`sqlite:${join(grid.folder, 'l.db')}`);
      t.match(await ledger.cancel(['lone'], Date.now()), [{ id: 'lone' }]);
      await ledger.close();
      const second = await serve();
      if (killed) grid.worker(first.token, 'w', ['--concurrency', '1']);
      await until(async () => (await second.words()).includes('last word'));
      const words = (await second.words()).filter((word) => /^line|^last/.test(word));
      const expected = [...Array.from({ length: 40 }, (_, n) => `line ${n + 1} of 40`), 'last word'];
      t.same(words, expected);
      t.match(await second.json(''), { state: 'cancelled' });
    },
  );
