import { chownSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { chooseKeeper } from '../../../src/cli/service/choose-keeper.js';
import { findService } from '../../../src/cli/service/installed.js';
import type { ServicePlan } from '../../../src/cli/service/keeper.js';
import { SystemdKeeper } from '../../../src/cli/service/systemd.js';
import { quoteUnit, systemdUnit } from '../../../src/cli/service/systemd-unit.js';
import { systemClock } from '../../../src/clock.js';
import type { RunTool, ToolResult } from '../../../src/kit/run-tool.js';
import { requireTools } from '../../lab/require.js';

const plan: ServicePlan = {
  name: 'peerwork',
  home: '/srv/attic/.peerwork',
  folder: '/srv/attic',
  dotenv: '/srv/attic/.env',
  env: { PATH: '/usr/bin:/bin', HTTPS_PROXY: 'http://user:pass%20word@proxy:3128' },
  drainMs: 60_000,
};
const command = () => [process.execPath, '/opt/peerwork/bin/peerwork.js', 'worker', '--dotenv', plan.dotenv];

/** System tools that only record their calls; a real systemd would take over the machine that runs the tests. */
function fakeTools(answers: Readonly<Record<string, Partial<ToolResult>>> = {}): { run: RunTool; calls: string[] } {
  const calls: string[] = [];
  const run: RunTool = async (file, args) => {
    const call = [file, ...args].join(' ');
    calls.push(call);
    const found = Object.entries(answers).find(([beginning]) => call.startsWith(beginning))?.[1];
    return { code: 0, stdout: '', stderr: '', ...found };
  };
  return { run, calls };
}

t.test('a unit restarts for ever, lets jobs finish, and keeps what docker, podman and bubblewrap need', async (t) => {
  for (const system of [false, true]) {
    const unit = systemdUnit(plan, command(), { system });
    for (const line of [
      'Restart=always',
      'RestartSec=10',
      'StartLimitIntervalSec=0',
      'WorkingDirectory=/srv/attic',
      'TimeoutStopSec=75',
      'KillMode=mixed',
      'OOMPolicy=continue',
      'UMask=0077',
    ])
      t.ok(unit.split('\n').includes(line), `${line} (${system ? 'system' : 'user'})`);
    t.match(unit, /^ExecStart=.*node.* worker --dotenv \/srv\/attic\/\.env$/m);
    t.match(unit, /^Environment="HTTPS_PROXY=http:\/\/user:pass%%20word@proxy:3128"$/m, 'percent signs are not specifiers');
    // Options that break setuid helpers, docker's view of /tmp, or bubblewrap's /proc, host name and namespaces.
    t.notMatch(
      unit,
      /^(NoNewPrivileges|PrivateTmp|ProtectProc|ProtectKernel\w+|ProtectHostname|RestrictNamespaces|SystemCallFilter|LockPersonality|EnvironmentFile)=/m,
    );
  }
  const user = systemdUnit(plan, command(), { system: false });
  t.match(user, /^WantedBy=default\.target$/m);
  t.notMatch(user, /^(ProtectSystem|CapabilityBoundingSet|User|After)=/m, 'a user’s own systemd cannot give these');
  const root = systemdUnit({ ...plan, user: { uid: 0, gid: 0 } }, command(), { system: true });
  t.match(root, /^WantedBy=multi-user\.target$/m);
  t.match(root, /^After=network-online\.target docker\.service/m);
  t.match(root, /^ProtectSystem=full\nCapabilityBoundingSet=~CAP_SYS_MODULE /m);
  const other = systemdUnit({ ...plan, user: { uid: 1000, gid: 1001 } }, command(), { system: true });
  t.match(other, /^User=1000\nGroup=1001$/m, 'it runs as who owns .env');
  t.notMatch(other, /CapabilityBoundingSet/);
  t.equal(quoteUnit('a "b" \\ 5%'), '"a \\"b\\" \\\\ 5%%"');
});

t.test('a unit that dory-worker, or its owner, has written is found, and renewed in its own folder alone', async (t) => {
  const units = t.testdir({});
  const folders = { 'systemd-system': join(units, 'system'), 'systemd-user': units };
  const file = join(units, 'dory-worker.service');
  const find = () => findService({ home: join(units, 'nothing'), serviceName: 'dory-worker' }, folders);
  t.equal(await find(), undefined);
  const old = '[Service]\nExecStart=/usr/bin/dory-worker start\nEnvironmentFile=/srv/attic/.env\nRestart=always\n';
  writeFileSync(file, old);
  t.match(await find(), { foreign: true, record: { keeper: 'systemd-user', folder: '/srv/attic', dotenv: '/srv/attic/.env' } });
  writeFileSync(file, old.replace('EnvironmentFile=', 'EnvironmentFile=-').replace('[Service]', '[Service]\nWorkingDirectory=/srv/cellar'));
  t.match(await find(), { record: { folder: '/srv/cellar', home: '/srv/cellar/.peerwork' } });
  writeFileSync(file, old.replace('/usr/bin/dory-worker start', '/usr/bin/something-else'));
  t.equal(await find(), undefined);

  const { run } = fakeTools();
  const keeper = new SystemdKeeper({ name: 'dory-worker', run, clock: systemClock, system: false, command, units });
  writeFileSync(file, old);
  await t.rejects(keeper.install({ ...plan, name: 'dory-worker', folder: '/srv/elsewhere' }), { code: 'service-taken' });
  t.equal(readFileSync(file, 'utf8'), old);
  await keeper.install({ ...plan, name: 'dory-worker' });
  t.match(readFileSync(file, 'utf8'), /Written by `peerwork start-bg`[\s\S]*WorkingDirectory=\/srv\/attic/);
  t.equal(await find(), undefined, 'one of our own is found by its record');
});

t.test('systemd itself finds nothing wrong with the units', async (t) => {
  if (!requireTools(t, { 'systemd-analyze': 'systemd', setpriv: 'util-linux' })) return;
  const dir = t.testdir();
  // Not as root: even a query would move this machine's processes into a control group of its own.
  if (process.getuid?.() === 0) chownSync(dir, 65534, 65534);
  const meek = process.getuid?.() === 0 ? ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--'] : [];
  const folder = '/tmp';
  for (const [name, system, user] of [
    ['of-user', false, undefined],
    ['of-root', true, { uid: 0, gid: 0 }],
    ['of-other', true, { uid: 1000, gid: 1000 }],
  ] as const) {
    const file = join(dir, `${name}.service`);
    const own = { ...plan, name, folder, env: { PATH: '/usr/bin', ODD: 'a "b" $c 5%' }, ...(user && { user }) };
    writeFileSync(file, systemdUnit(own, [process.execPath, '-e', 'odd "word" $HOME 5%'], { system }), { mode: 0o644 });
    const [tool = '', ...args] = [...meek, 'systemd-analyze', 'verify', '--man=no', ...(system ? [] : ['--user']), file];
    const { exitCode, stderr } = await execa(tool, args, { reject: false, env: { XDG_RUNTIME_DIR: dir }, timeout: 240_000 });
    // It also reads the machine's other units, which do not matter here.
    t.same(
      stderr.split('\n').filter((line) => line.includes(name)),
      [],
      name,
    );
    t.equal(exitCode, 0, `${name}: ${stderr}`);
  }
});

t.test('a user service is written, enabled, started, shown, stopped and removed', async (t) => {
  const units = join(t.testdir(), 'units');
  const { run, calls } = fakeTools({
    'systemctl --user show': { stdout: 'ActiveState=active\nSubState=running\nMainPID=4711\nNRestarts=2\nResult=success\n' },
    'loginctl show-user': { stdout: 'no\n' },
    'loginctl enable-linger': { code: 1, stderr: 'Access denied' },
  });
  const keeper = new SystemdKeeper({ name: 'peerwork', system: false, run, clock: systemClock, command, units });
  const notes = await keeper.install(plan);
  const file = join(units, 'peerwork.service');
  t.equal(readFileSync(file, 'utf8'), systemdUnit(plan, command(), { system: false }));
  t.equal(statSync(file).mode & 0o077, 0, 'a proxy’s password is in it');
  t.match(notes.join('\n'), /sudo loginctl enable-linger/, 'without lingering the owner is told');
  t.same(calls.slice(0, 3), [
    'systemctl --user daemon-reload',
    'systemctl --user enable --quiet peerwork.service',
    'systemctl --user restart peerwork.service',
  ]);
  t.same(await keeper.state(), { running: true, pid: 4711, restarts: 2, detail: 'active (running)' });

  calls.length = 0;
  await keeper.stop({ now: true });
  t.same(calls, ['systemctl --user stop peerwork.service', 'systemctl --user kill --kill-who=main --signal=SIGTERM peerwork.service']);
  calls.length = 0;
  await keeper.logs({ lines: 20, follow: true, signal: new AbortController().signal });
  t.same(calls, ['journalctl --user --unit peerwork.service --lines 20 --no-pager --output cat --follow']);
  await t.rejects(
    keeper.install({ ...plan, folder: '/srv/cellar' }),
    { code: 'service-taken' },
    'a unit of another folder is not overwritten',
  );
  calls.length = 0;
  await keeper.uninstall();
  t.same(calls.slice(0, 2), ['systemctl --user disable --quiet --now peerwork.service', 'systemctl --user daemon-reload']);
  t.notOk(existsSync(file));
});

t.test('what systemd refuses is told in its own words', async (t) => {
  const { run } = fakeTools({ 'systemctl enable': { code: 1, stderr: 'Failed to enable unit: Read-only file system' } });
  const keeper = new SystemdKeeper({ name: 'peerwork', system: true, run, clock: systemClock, command, units: t.testdir() });
  await t.rejects(keeper.install(plan), { code: 'service-failed', message: /Read-only file system/ });
});

t.test('the keeper is what the machine has', async (t) => {
  const place = { home: '/srv/.peerwork', name: 'peerwork', platform: 'linux' as const };
  const running = fakeTools({
    'systemctl is-system-running': { code: 1, stdout: 'degraded\n' },
    'systemctl --user is-system-running': { stdout: 'running\n' },
  }).run;
  const none = fakeTools({ systemctl: { code: 1, stdout: 'offline\n', stderr: 'System has not been booted with systemd' } }).run;
  const kind = async (run: RunTool, uid: number, platform: NodeJS.Platform = 'linux') =>
    (await chooseKeeper('auto', { ...place, run, uid, platform })).kind;
  t.equal(await kind(running, 0), 'systemd-system', 'a failed unit of somebody else does not matter');
  t.equal(await kind(running, 1000), 'systemd-user');
  t.equal(await kind(none, 0), 'background');
  t.equal(await kind(none, 1000), 'background');
  t.equal(await kind(none, 501, 'darwin'), 'launchd');
  await t.rejects(chooseKeeper('systemd-system', { ...place, run: running, uid: 1000 }), { code: 'keeper-missing', message: /needs root/ });
  await t.rejects(chooseKeeper('systemd-user', { ...place, run: none, uid: 1000 }), { code: 'keeper-missing', message: /offline/ });
  await t.rejects(chooseKeeper('launchd', { ...place, run: none, uid: 1000 }), { code: 'keeper-missing', message: /macOS/ });
  await t.rejects(chooseKeeper('auto', { ...place, run: none, uid: 0, platform: 'win32' }), {
    code: 'keeper-missing',
    message: /Task Scheduler/,
  });
});
