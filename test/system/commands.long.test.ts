import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Grid } from '../lab/grid.js';
import { writeSlowTask } from '../lab/jobs.js';
import { findPostgres, LabPostgres } from '../lab/postgres.js';
import { requireThat } from '../lab/require.js';

const TOKEN = 'commands-token';

t.test('every command against a running Master', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  writeSlowTask(grid.folder);
  await grid.tracker();
  const serving = await grid.master(['--task', 'task', '--http', '127.0.0.1:0', '--ledger', 'sqlite:l.db'], {
    env: { PEERWORK_HTTP_TOKENS: `admin:${TOKEN}` },
  });
  const [, api = ''] = /Dashboard: (http:\/\/\S+)\//.exec(await serving.program.line(/Dashboard: /)) ?? [];
  const env = { PEERWORK_API: api, PEERWORK_HTTP_TOKEN: TOKEN };
  const run = async (...args: string[]) => {
    const program = grid.start(args, { env });
    const { code } = await program.ended;
    return { code, text: program.text };
  };
  const json = async (...args: string[]) =>
    (await run(...args, '--json')).text
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line));

  t.match(await run('push', '--data', '{"ms":1,"n":1}', '--id', 'one', '--group', 'g', '--priority', '5'), { code: 0, text: 'one' });
  t.match(await run('push', '--data', '{"ms":1,"n":2}', '--id', 'late', '--delay', '1h'), { code: 0 });
  writeFileSync(join(grid.folder, 'more.ndjson'), '{"id":"a","data":{"ms":1,"n":3}}\n{"id":"a","data":1}\n{"oops":1}\n');
  t.match(await run('push', 'more.ndjson'), { code: 1, text: /line 3: .*\[job-invalid\][\s\S]*1 added, 1 known already, 1 refused/ });
  writeFileSync(join(grid.folder, 'list.json'), '[{"id":"l1","data":{"ms":1,"n":4}},{"id":"l2","data":{"ms":1,"n":5},"parents":["l1"]}]');
  t.match(await run('push', 'list.json'), { code: 0, text: /l1\nl2/ });
  t.match(await run('jobs', '--state', 'blocked'), { text: /^job +state[\s\S]*l2 +blocked/ });
  t.match(await json('jobs', '--group', 'g'), [{ id: 'one', state: 'ready' }]);
  t.match(await run('job', 'late'), { text: /state +ready \(delayed\)/ });
  t.match(await run('job', 'nobody'), { code: 2, text: /nobody\. Check the id\. \[job-unknown\]/ });
  t.match(await json('job', 'late', '--cancel'), [{ state: 'cancelled' }]);
  t.match(await run('job', 'late', '--delete'), { text: '1 deleted' });

  t.match(await run('hold', 'w', '90s'), { text: /held until[\s\S]*w +20/ });
  t.match(await json('hold', 'w', '--release', '--max-running', '3'), [{ id: 'w', maxRunning: 3 }]);
  t.match(await run('schedule', 'put', 'nightly', '--cron', '0 3 * * *', '--time-zone', 'Europe/Berlin', '--job', '{"data":1}'), {
    text: /nightly +0 3 \* \* \* +Europe\/Berlin/,
  });
  t.match(await json('schedule', 'pause', 'nightly'), [{ paused: true }]);
  t.match(await run('schedule', 'put', 'bad', '--cron', 'x', '--job', '{"data":1}'), { code: 2, text: /\[schedule-invalid\]/ });
  t.match(await run('schedule', 'delete', 'nightly'), { code: 0 });
  t.match(await run('groups', 'pause', 'g'), { text: /paused/ });
  t.match(await run('groups', 'resume', 'g'), { code: 0 });

  grid.worker(serving.token, 'anna');
  await serving.program.line(/connected/);
  t.match(await run('job', 'l2', '--follow'), { code: 0, text: /output +5/ });
  t.match(await json('groups'), [{ id: 'g', progress: 1 }]);
  t.match(await run('workers'), { text: /anna +direct/ });
  t.match(await json('workers', 'drain', 'ann'), [{ name: 'anna', drainedAt: Number }]);
  t.match(await run('workers', 'resume', 'anna'), { code: 0 });
  t.match(await run('workers', 'drain', 'nobody'), { code: 2, text: /\[worker-unknown\]/ });
  const [first, ...others] = await json('results');
  t.ok(first.cursor > 0 && others.length >= 3);
  t.match(await run('results', '--after', String(first.cursor)), { code: 0 });

  const odd = ['..', 'a/b 50% ünï', 'x'.repeat(200)];
  writeFileSync(
    join(grid.folder, 'odd.ndjson'),
    odd.map((id) => `${JSON.stringify({ id, data: { ms: 1, n: 1 }, delayMs: 3_600_000 })}\n`).join(''),
  );
  t.match(await run('push', 'odd.ndjson'), { code: 0 });
  for (const id of odd) t.match(await json('job', id, '--cancel'), [{ id, state: 'cancelled' }], `${id} is shown`);
  t.match(await run('jobs', '--state', 'cancelled', '--retry'), { code: 0, text: /^3 jobs wait again/ });
  t.match(await json('jobs', '--state', 'failed', '--retry'), [{ jobs: 0 }]);
  t.match(await run('jobs', '--retry'), { code: 2, text: /--retry goes with --state/ });
  t.match(await json('job', 'xxx', '--cancel'), [{ id: 'x'.repeat(200) }], 'by the beginning of its id');
  t.match(await run('job', 'l', '--delete'), { code: 2, text: /"l" may be "l1", "l2"\. Use a longer prefix\. \[job-ambiguous\]/ });

  t.match(await run('jobs', '--api', 'http://127.0.0.1:9'), { code: 2, text: /\[api-unreachable\]/ });
  t.match(await run('jobs', '--limit', 'many'), { code: 2, text: /\[option-invalid\]/ });
  t.match(await run('push'), { code: 2, text: /\[option-invalid\]/ });
  t.match(await run('push', 'nowhere.ndjson'), { code: 2, text: /nowhere.ndjson cannot be read/ });
  t.match(await run('groups', 'explode', 'g'), { code: 2, text: /none of/ });
  t.notMatch(grid.programs.map(({ text }) => text).join(''), /\n\s+at /, 'no stack greets anybody');
});

t.test('a ledger moves from a file to Postgres, and its jobs go on', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const lab = await LabPostgres.start();
  const grid = new Grid();
  t.teardown(async () => {
    await grid.close();
    await lab.close();
  });
  writeSlowTask(grid.folder);
  const lines = Array.from({ length: 30 }, (_, n) => JSON.stringify({ id: `job-${n}`, data: { ms: 1, n } }));
  writeFileSync(join(grid.folder, 'jobs.ndjson'), lines.join('\n'));
  await grid.tracker();
  const first = await grid.master(['--task', 'task', '--http', '127.0.0.1:0', '--ledger', 'sqlite:l.db', '--key-file', 'key']);
  const [, api = ''] = /Dashboard: (http:\/\/\S+)\//.exec(await first.program.line(/Dashboard: /)) ?? [];
  t.equal((await grid.start(['push', 'jobs.ndjson', '--api', api]).ended).code, 0);
  await first.program.stop('SIGKILL');
  const url = await lab.createDatabase();
  const ledger = async (...args: string[]) => {
    const program = grid.start(['ledger', ...args]);
    return { code: (await program.ended).code, text: program.text };
  };
  t.match(await ledger('export', 'dump.ndjson', '--ledger', 'sqlite:l.db'), { code: 0, text: /lines exported/ });
  t.match(await ledger('import', 'dump.ndjson', '--ledger', url), { code: 0, text: /30 jobs imported/ });
  t.match(await ledger('import', 'dump.ndjson', '--ledger', url), { code: 2, text: /\[ledger-not-empty\]/ });
  t.match(await ledger('import', 'nowhere', '--ledger', url), { code: 2, text: /\[option-invalid\]/ });
  t.match(await ledger('explode', 'x', '--ledger', url), { code: 2 });
  const second = await grid.master([
    '--task',
    'task',
    '--input',
    'jobs.ndjson',
    '--output',
    'o.ndjson',
    '--ledger',
    url,
    '--key-file',
    'key',
  ]);
  t.equal(second.token, first.token);
  grid.worker(second.token, 'anna');
  t.equal((await second.program.ended).code, 0, second.program.text.slice(-800));
  t.equal(grid.outcomes('o.ndjson').length, 30);
});
