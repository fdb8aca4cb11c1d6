import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.js';
import { type KeptRun, listRunLogs, RunLogs, type RunLogsOptions } from '../../src/containers/run-logs.js';
import type { Job, Outcome, Progress } from '../../src/job/job.js';
import { conceal, createLog, silentLog } from '../../src/log.js';
import { removeFolder } from '../lab/remove-folder.js';

const job: Job = { id: 'run-1', channel: 'dory', data: null, attempt: 1, timeoutMs: 0 };
const completed: Outcome = { state: 'completed', output: null };

async function place(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'peerwork-logs-'));
  t.teardown(() => removeFolder(folder));
  return join(folder, 'logs');
}

const open = (folder: string, more: Partial<RunLogsOptions> = {}) =>
  RunLogs.open({ folder, kind: 'crawl', quotaBytes: 1_000_000, clock: systemClock, log: silentLog, ...more });

const say = (report: (progress: Progress) => void, ...lines: string[]) => {
  for (const line of lines) report({ kind: 'log', stream: 'stdout', line });
};

const aLine = async ({ report }: KeptRun): Promise<Outcome> => {
  say(report, 'a line');
  return completed;
};

t.test('neither secrets nor what a terminal obeys is kept, and nobody else can read it', async (t) => {
  const folder = await place(t);
  const logs = await open(folder);
  conceal('dwk_concealed-by-its-owner');
  const reported: string[] = [];
  const report = (progress: Progress) => progress.kind === 'log' && reported.push(progress.line);
  await logs.keep(job, report, async (kept) => {
    kept.learn({ API_TOKEN: 'a-secret-by-name', REDIS_URL: 'redis://:in-an-address@redis:6379', PLAIN: 'said as it is' });
    say(kept.report, 'dwk_concealed-by-its-owner', 'so a-secret-by-name and in-an-address', 'said as it is');
    say(kept.report, '\x1b[31mred\x1b[0m \x1b]0;title\x07bell\ttab');
    return { state: 'failed', error: { code: 'x', message: 'it said a-secret-by-name' }, retry: false };
  });
  const [kept] = await listRunLogs(folder);
  t.match(kept, { run: 'run-1', kind: 'crawl', channel: 'dory', attempt: 1, ended: 'it said [secret]' });
  const text = await readFile(`${kept?.path}.log`, 'utf8');
  const lines = text.trimEnd().split('\n');
  t.match(lines, [
    /^\d{4}-\d\d-\d\dT[\d:.]+Z stdout \[secret\]$/,
    / so \[secret\] and \[secret\]$/,
    / said as it is$/,
    / red .*bell\ttab$/,
  ]);
  t.notMatch(text, /[^\P{Cc}\t\n]/u);
  t.equal(reported.length, 4, 'and whoever asked for the job is told all the same');
  for (const name of await readdir(folder)) t.equal((await stat(join(folder, name))).mode & 0o077, 0, name);
  t.equal((await stat(folder)).mode & 0o077, 0);
});

t.test('a run has its last lines, all runs together no more than their quota, and the oldest goes first', async (t) => {
  const folder = await place(t);
  const logs = await open(folder, { quotaBytes: 200_000 });
  const line = 'x'.repeat(1_000);
  for (let run = 1; run <= 6; run += 1)
    await logs.keep(
      { ...job, id: `run-${run}` },
      () => {},
      async ({ report }) => {
        for (let n = 0; n < 300; n += 1) say(report, `${n} ${line}`);
        return completed;
      },
    );
  await logs.close();
  const kept = await listRunLogs(folder);
  const bytes = kept.reduce((sum, each) => sum + each.bytes, 0);
  t.ok(bytes <= 200_000, `${bytes}`);
  t.ok(kept.length >= 2);
  t.equal(kept.at(-1)?.run, 'run-6');
  t.notOk(kept.some(({ run }) => run === 'run-1'));
  const last = (await readFile(`${kept.at(-1)?.path}.log`, 'utf8')).trimEnd().split('\n');
  t.match(last.at(-1), / 299 x+$/, 'the end of it');
  t.same((await readdir(folder)).length, kept.length * 3, 'and nothing lies about');
});

t.test('a run whose Worker was killed is known as cut off, and damaged files hold nobody up', async (t) => {
  const folder = await place(t);
  const killed = await open(folder);
  void killed.keep(
    job,
    () => {},
    async ({ report }) => {
      say(report, 'the last that was heard');
      return new Promise<Outcome>(() => {});
    },
  );
  await new Promise((resolve) => setTimeout(resolve, 500));
  await writeFile(join(folder, 'damaged.json'), '{"run":');
  await open(folder);
  t.match(await listRunLogs(folder), [{ run: 'run-1', ended: 'interrupted' }]);
});

t.test('where nothing can be written the run goes on, and that is said once', async (t) => {
  const folder = await place(t);
  const warnings: string[] = [];
  const logs = await open(folder, { log: createLog({ level: 'warn', write: (line) => warnings.push(line) }) });
  await rm(folder, { recursive: true });
  await writeFile(folder, 'in the way');
  for (let n = 0; n < 3; n += 1) t.same(await logs.keep(job, () => {}, aLine), completed);
  t.equal(warnings.length, 1);
  t.match(warnings[0], /container output cannot be stored .*hint=/);
});

t.test('with a quota of 0 nothing is kept', async (t) => {
  const folder = await place(t);
  const logs = await open(folder, { quotaBytes: 0 });
  await logs.keep(job, () => {}, aLine);
  t.same(await readdir(folder), []);
});
