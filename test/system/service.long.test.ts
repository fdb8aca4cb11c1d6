import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { markProcess } from '../../src/kit/process-mark.js';
import { Grid } from '../lab/grid.js';
import { writeSlowTask } from '../lab/jobs.js';
import { OwnersFolder } from '../lab/service.js';
import { until } from '../lab/until.js';

async function openGrid(t: Test): Promise<{ grid: Grid; token: string; api: string }> {
  const grid = new Grid();
  t.teardown(() => grid.close());
  writeSlowTask(grid.folder);
  await grid.tracker();
  const { program, token } = await grid.master(['--task', 'task', '--http', '127.0.0.1:0']);
  const [api = ''] = /http:\/\/\S+(?=\/)/.exec(await program.line(/Dashboard: /)) ?? [];
  return { grid, token, api };
}

t.test('a Worker is started in the background, comes back when it is killed, and leaves nothing when it is removed', async (t) => {
  const { token } = await openGrid(t);
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  t.match(await owner.type('start-bg'), { code: 3, stderr: /\[worker-unconfigured\]/ });
  for (const command of ['status', 'logs', 'stop', 'restart', 'uninstall'])
    t.match(await owner.type(command), { code: 3, stderr: /\[service-missing\]/ }, command);

  const begun = await owner.type('start-bg', '--token', token, '--name', 'attic', '--concurrency', '1', '--keeper', 'background');
  t.match(begun, { code: 0, stdout: /The Worker attic runs[\s\S]*@reboot cd .* start-bg/ });
  t.match(readFileSync(owner.file('.env'), 'utf8'), /name=attic\n(.*\n)*PEERWORK_KEEPER=background/, 'flags are kept for the next start');
  await until(async () => (await owner.status()).worker?.master !== undefined);
  const first = await owner.status();
  t.match(first, { running: true, restarts: 0, keeper: 'background', worker: { name: 'attic', sources: ['master'], concurrency: 1 } });
  t.match(await owner.type('status'), { code: 0, stdout: /works for +Master .*\njobs +0 of 1 running/ });
  t.match(await owner.type('logs', '--lines', '50'), { code: 0, stdout: /worker starts name=attic[\s\S]*connected/ });

  process.kill(first.pid, 'SIGKILL');
  await until(async () => {
    const { pid, running } = await owner.status();
    return running && pid !== first.pid;
  });
  t.match(await owner.status(), { restarts: 1 });
  t.match(await owner.type('logs'), { stdout: /supervisor: the Worker ended \(SIGKILL\)/ });

  // Running it again updates the service instead of starting a second Worker.
  const before = owner.processes();
  t.match(await owner.type('start-bg', '--name', 'cellar'), { code: 0, stdout: /The Worker cellar runs/ });
  t.ok(
    before.every((pid) => markProcess(pid) === undefined),
    'the first supervisor and its Worker are gone',
  );
  t.equal(readdirSync(owner.file('.peerwork', 'workers')).length, 1, 'and it is still the same Worker');

  const rightful = readFileSync(owner.file('.env'), 'utf8');
  writeFileSync(owner.file('.env'), rightful.replace('PEERWORK_CONCURRENCY=1', 'PEERWORK_CONCURRENCY=many'));
  t.match(await owner.type('restart'), { code: 2, stderr: /PEERWORK_CONCURRENCY.*\[option-invalid\]/ });
  t.match(await owner.status(), { running: true }, 'a mistake in .env does not end what runs');
  writeFileSync(owner.file('.env'), rightful);

  const follower = owner.begin('logs', '--follow', '--lines', '0');
  let followed = '';
  follower.stdout?.on('data', (chunk) => {
    followed += String(chunk);
  });
  const ended = new Promise((resolve) => follower.once('close', resolve));
  t.match(await owner.type('restart'), { code: 0, stdout: /The Worker cellar runs again/ });
  await until(() => /worker starts name=cellar/.test(followed));
  follower.kill('SIGINT');
  t.equal(await ended, 0, 'Ctrl-C ends the following of a log in order');

  t.match(await owner.type('stop'), { code: 0, stdout: /Stopped\./ });
  t.same(owner.processes(), []);
  t.match(await owner.type('status'), { code: 1, stdout: /state +stopped/ });
  t.match(await owner.type('logs'), { stdout: /Stopped \(SIGTERM\)/ });
  t.match(await owner.type('restart'), { code: 0 });

  mkdirSync(owner.file('.peerwork'), { recursive: true });
  writeFileSync(owner.file('.peerwork', 'ledger.db'), 'of a Master');
  const running = owner.processes();
  t.match(await owner.type('uninstall'), { code: 0, stdout: /stay in .*\.peerwork: installed again, it is the same Worker/ });
  t.ok(running.length === 2 && running.every((pid) => markProcess(pid) === undefined), 'supervisor and Worker are gone');
  t.ok(existsSync(owner.file('.peerwork', 'workers', '1', 'key.json')));
  t.match(await owner.type('start-bg'), { code: 0 });
  t.match(await owner.type('uninstall', '--keep-data', '--yes'), { code: 2, stderr: /contradict/ });
  t.match(await owner.type('uninstall', '--yes'), { code: 0, stdout: /holds other things[\s\S]*are deleted[\s\S]*\.env stays/ });
  t.same(readdirSync(owner.file('.peerwork')), ['ledger.db'], "nothing of the Worker is left, a Master's ledger is");
});

t.test('what runs is finished when it is stopped, given back with --now', async (t) => {
  const { grid, token, api } = await openGrid(t);
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  const push = (id: string, ms: number) => grid.start(['push', '--api', api, '--id', id, '--data', JSON.stringify({ ms })]).ended;
  const job = async (id: string) => {
    const program = grid.start(['job', id, '--json', '--api', api]);
    await program.ended;
    return JSON.parse(program.text);
  };
  t.equal((await owner.type('start-bg', '--token', token, '--keeper', 'background')).code, 0);
  await push('short', 4_000);
  await until(async () => (await job('short')).state === 'leased');
  t.match(await owner.type('stop'), { code: 0 });
  t.match(await job('short'), { state: 'completed' });
  t.match(await owner.type('restart'), { code: 0 });
  await push('long', 600_000);
  await until(async () => (await job('long')).state === 'leased');
  t.match(await owner.type('stop', '--now'), { code: 0 });
  await until(async () => (await job('long')).state === 'ready');
  t.match(await job('long'), { attempts: { made: 0 } }, 'given back, not missed: that costs no attempt');
  t.same(owner.processes(), []);
});

t.test('a supervisor that is killed takes its Worker along, and the next start finds all in order', async (t) => {
  const { token } = await openGrid(t);
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  t.equal((await owner.type('start-bg', '--token', token, '--keeper', 'background')).code, 0);
  const [supervisor = Number.NaN, worker = Number.NaN] = owner.processes();
  process.kill(supervisor, 'SIGKILL');
  await until(() => markProcess(worker) === undefined);
  t.match(await owner.type('status'), { code: 1 });
  t.match(await owner.type('start-bg'), { code: 0 });
  t.match(await owner.status(), { running: true });
  // As if `stop` met a Worker that is still draining.
  const [again = Number.NaN] = owner.processes();
  process.kill(again, 'SIGKILL');
  t.match(await owner.type('stop'), { code: 0 });
  t.same(owner.processes(), []);
});

t.test('two Workers of one machine keep apart, and one that cannot come up says why', async (t) => {
  const { token } = await openGrid(t);
  const one = new OwnersFolder();
  const two = new OwnersFolder();
  t.teardown(() => Promise.all([one, two].map((owner) => owner.close())));
  t.equal((await one.type('start-bg', '--token', token, '--keeper', 'background')).code, 0);
  const home = one.file('.peerwork');
  const shared = ['start-bg', '--token', token, '--keeper', 'background', '--home', home];
  t.match(await two.type(...shared), { code: 2, stderr: /\[service-taken\]/ });
  t.match(await two.type(...shared, '--service-name', 'second'), { code: 0 });
  t.match(await two.type('status'), { code: 0, stdout: /service +second/ });
  t.match(
    await one.type('uninstall', '--yes'),
    { code: 2, stderr: /other Workers use it.*\[home-locked\]/ },
    'a home that others use is kept',
  );
  t.match(await two.type('status'), { code: 0 });
  t.match(await two.type('uninstall', '--yes'), { code: 0 });
  t.notOk(existsSync(home));

  writeFileSync(one.file('.env'), `token=${token}\nPEERWORK_SANDBOX=required\nPEERWORK_KEEPER=background\n`);
  writeFileSync(one.file('.peerwork'), 'a file where a folder must be');
  t.match(await one.type('start-bg'), { code: 2 });
});

t.test('a service record that is damaged is refused by name, and moving it away helps', async (t) => {
  const { token } = await openGrid(t);
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  t.equal((await owner.type('start-bg', '--token', token, '--keeper', 'background')).code, 0);
  const before = owner.processes();
  const [name = ''] = readdirSync(owner.file('.peerwork', 'services'));
  const record = owner.file('.peerwork', 'services', name, 'service.json');
  for (const text of ['', '{"name":', '{"name":"x","keeper":"nobody"}']) {
    writeFileSync(record, text);
    for (const command of ['status', 'stop', 'start-bg'])
      t.match(await owner.type(command), { code: 2, stderr: /service\.json.*\[service-record-damaged\]/ }, command);
  }
  renameSync(record, `${record}.damaged`);
  t.match(await owner.type('start-bg'), { code: 0 });
  t.match(await owner.status(), { running: true });
  t.ok(
    before.every((pid) => markProcess(pid) === undefined),
    'in place of the one that ran',
  );
});

t.test('state, log and units are for their owner only, and hold no token', async (t) => {
  const { token } = await openGrid(t);
  const owner = new OwnersFolder({ env: { LOG_LEVEL: 'debug', PEERWORK_SECRET_OF_OTHERS: 'not-for-the-service' } });
  t.teardown(() => owner.close());
  t.equal((await owner.type('start-bg', '--token', token, '--keeper', 'background')).code, 0);
  const { pid } = await owner.status();
  t.match(readFileSync(owner.file('.env'), 'utf8'), /^LOG_LEVEL=debug$/m, 'options of the environment are kept');
  const folder = owner.file('.peerwork', 'services', 'peerwork');
  for (const file of readdirSync(folder)) {
    t.equal(statSync(join(folder, file)).mode & 0o077, 0, file);
    t.notOk(readFileSync(join(folder, file), 'utf8').includes(token), file);
  }
  t.notOk(readFileSync(owner.file('.peerwork', 'status', `${pid}.json`), 'utf8').includes(token));
  if (process.platform === 'linux')
    for (const each of [pid, owner.processes()[0]]) {
      t.notOk(readFileSync(`/proc/${each}/cmdline`, 'latin1').includes(token), 'not in the process list');
      t.notMatch(readFileSync(`/proc/${each}/environ`, 'latin1'), /pw1\.|not-for-the-service/, 'nor in its environment');
    }
  t.match(await owner.type('uninstall', '--yes'), { code: 0 });
});
