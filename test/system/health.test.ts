import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { Grid } from '../lab/grid.js';
import { writeSlowTask } from '../lab/jobs.js';
import { OwnersFolder } from '../lab/service.js';
import { until } from '../lab/until.js';

function openOwner(t: Test): OwnersFolder {
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  return owner;
}

/** The checks by name; the last of several with one name. */
// biome-ignore lint/suspicious/noExplicitAny: an answer is looked into without end.
async function checksOf(owner: OwnersFolder, ...args: readonly string[]): Promise<{ code: number | null; checks: Record<string, any> }> {
  const { code, stdout, stderr } = await owner.type('health', '--json', ...args);
  if (stdout === '') throw new Error(stderr);
  return { code, checks: Object.fromEntries(JSON.parse(stdout).checks.map((check: { name: string }) => [check.name, check])) };
}

t.test('health finds the Master as this Worker, says what is wrong, and disturbs nobody', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  writeSlowTask(grid.folder);
  const tracker = await grid.tracker();
  const master = await grid.master(['--task', 'task', '--http', '127.0.0.1:0', '--key-file', 'key']);
  const api = /http:\/\/\S+(?=\/)/.exec(await master.program.line(/Dashboard/))?.[0] ?? '';
  const workers = async () => {
    const program = grid.start(['workers', '--json', '--api', api]);
    await program.ended;
    return program.lines.map((line) => JSON.parse(line));
  };
  const owner = openOwner(t);

  t.match(await owner.type('health'), { code: 1, stdout: /fail +serves +nobody\n +→ Run `.* configure`/ });
  t.match(await owner.type('configure', '--token', master.token, '--name', 'attic'), { code: 0, stdout: /serves: master/ });
  const well = await checksOf(owner);
  t.match(well, {
    code: 0,
    checks: {
      token: { state: 'ok' },
      tracker: { state: 'ok', detail: /responded in \d+ ms/ },
      master: { state: 'ok', detail: /found after .*, path direct, and it takes this Worker/ },
      clock: { state: 'ok', detail: /right|does not matter/ },
      ice: { state: 'ok' },
      disk: { state: 'ok', detail: /free for/ },
      sandbox: { detail: /process|bubblewrap/ },
      memory: { detail: /jobs of 512 MiB/ },
      npm: { detail: /npm|registry/ },
      service: { state: 'ok', detail: /none installed/ },
    },
  });
  t.same(await workers(), [], 'no stranger was written down at the Master');

  t.match(await owner.type('start-bg', '--keeper', 'background'), { code: 0 });
  await until(async () => (await owner.status()).worker?.master !== undefined);
  const before = await workers();
  t.match(await checksOf(owner), {
    code: 0,
    checks: { master: { detail: /the Worker that runs is connected to/ }, service: { detail: /running/ } },
  });
  t.match(before, [{ name: 'attic', connected: {} }]);
  t.same(
    (await workers()).map(({ id }) => id),
    before.map(({ id }) => id),
    'the Worker that runs is still there, and nobody else',
  );
  t.notMatch((await owner.type('logs')).stdout, /disconnected/);

  await master.program.stop();
  await until(async () => (await owner.status()).worker?.warnings.length > 0);
  t.match(await checksOf(owner), { code: 1, checks: { master: { state: 'fail', detail: /has not found it/, hint: /Master/ } } });
  t.match(await owner.type('status'), { code: 0, stdout: /Master not found yet[\s\S]*warning +master: / });
  t.match(await owner.type('stop'), { code: 0 });
  t.match(await checksOf(owner, '--timeout', '30'), {
    code: 1,
    checks: {
      tracker: { state: 'ok' },
      master: { state: 'fail', detail: /\[master-absent\]/ },
      service: { state: 'fail', detail: /stopped/ },
    },
  });
  t.match(await owner.type('uninstall', '--yes'), { code: 0 });

  await tracker.stop();
  chmodSync(owner.file('.env'), 0o644);
  const alone = await checksOf(owner, '--timeout', '3');
  t.match(alone, {
    code: 1,
    checks: {
      tracker: { state: 'fail', hint: /WebSockets/ },
      master: { state: 'fail', detail: /no tracker responds/, hint: /trackers/ },
      '.env': { state: 'warn', hint: /chmod 600/ },
    },
  });
});

t.test('a Worker that the Master does not take is told so at once', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  writeSlowTask(grid.folder);
  await grid.tracker();
  const { token } = await grid.master(['--task', 'task', '--http', 'off', '--approval', 'manual']);
  const owner = openOwner(t);
  await owner.type('configure', '--token', token);
  t.match(await checksOf(owner, '--timeout', '60'), { code: 1, checks: { master: { state: 'fail', detail: /\[worker-unapproved\]/ } } });
  t.match(await checksOf(owner, '--transfer-encrypt-token', 'x'.repeat(32), '--timeout', '60'), {
    checks: { master: { state: 'fail', detail: /\[transfer-secret-mismatch\]/ } },
  });
});

t.test('what is wrong with the machine is found, each with what to do', async (t) => {
  const owner = openOwner(t);
  writeFileSync(owner.file('file'), '');
  const ill = new OwnersFolder({ path: owner.file('ill'), env: { PATH: '/nowhere' } });
  const { code, checks } = await checksOf(
    ill,
    '--home',
    owner.file('file', 'home'),
    '--concurrency',
    '1024',
    '--memory-mb',
    '1048576',
    '--token',
    'pw1.x',
    '--containers',
    'docker',
  );
  t.equal(code, 1);
  t.match(checks, {
    token: { state: 'fail', detail: /truncated/, hint: /Copy the token again/ },
    disk: { state: 'fail', detail: /cannot be written/, hint: /--home/ },
    // If npm is not on the PATH, it is found where it came with Node.
    npm: { state: 'ok' },
    containers: { state: 'fail', detail: /docker is not installed/, hint: /Install docker/ },
    memory: { state: 'warn', hint: /Lower PEERWORK_CONCURRENCY/ },
  });
  for (const check of Object.values(checks)) t.ok(check.state === 'ok' || check.hint !== undefined, `${check.name}: what to do`);
  t.match(await owner.type('health', '--timeout', 'soon'), { code: 2, stderr: /\[option-invalid\]/ });
  t.notOk(existsSync(owner.file('home')));
});
