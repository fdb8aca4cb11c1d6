import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { LaunchdKeeper, launchdPlist } from '../../../src/cli/service/launchd.js';
import { systemClock } from '../../../src/clock.js';
import type { RunTool } from '../../../src/kit/run-tool.js';
import { requireTools } from '../../lab/require.js';

t.test('the property list is XML that says what was meant', async (t) => {
  if (!requireTools(t, { python3: 'python3' })) return;
  const odd = 'a <b> & "c" \'d\'';
  const text = launchdPlist({
    label: 'peerwork.attic',
    command: ['/usr/local/bin/node', '/opt/peer work/main.js', odd],
    folder: '/Users/me/attic',
    env: { PATH: '/usr/bin:/bin', ODD: odd },
    exitSeconds: 90,
    errorFile: '/Users/me/attic/err',
  });
  // plistlib parses as strictly as launchd does.
  const { stdout } = await execa(
    'python3',
    ['-c', 'import plistlib,sys,json; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))'],
    { input: text },
  );
  t.same(JSON.parse(stdout), {
    Label: 'peerwork.attic',
    ProgramArguments: ['/usr/local/bin/node', '/opt/peer work/main.js', odd],
    WorkingDirectory: '/Users/me/attic',
    EnvironmentVariables: { PATH: '/usr/bin:/bin', ODD: odd },
    RunAtLoad: true,
    KeepAlive: true,
    ThrottleInterval: 10,
    ExitTimeOut: 90,
    ProcessType: 'Standard',
    Umask: 63,
    StandardErrorPath: '/Users/me/attic/err',
  });
});

t.test('an agent is written, loaded, asked, taken out and removed', async (t) => {
  const home = join(t.testdir(), '.peerwork');
  const agents = join(home, '..', 'LaunchAgents');
  const calls: string[] = [];
  let loaded = false;
  const run: RunTool = async (file, args) => {
    calls.push([file, ...args].join(' '));
    if (args[0] === 'bootstrap') loaded = true;
    if (args[0] === 'bootout') loaded = false;
    return { code: args[0] === 'print' && !loaded ? 113 : 0, stdout: '\tstate = running\n', stderr: '' };
  };
  const keeper = new LaunchdKeeper({ home, name: 'peerwork', run, clock: systemClock, uid: 501, agents });
  const folder = join(home, '..');
  t.match(await keeper.install({ name: 'peerwork', home, folder, dotenv: join(folder, '.env'), env: {}, drainMs: 1_000 }), [
    /while you are logged in/,
  ]);
  const file = join(agents, 'peerwork.peerwork.plist');
  t.match(readFileSync(file, 'utf8'), /supervisor-main\.js/);
  t.equal(calls.at(-1), `launchctl bootstrap gui/501 ${file}`);
  t.match(await keeper.state(), { running: false, detail: 'running, the Worker is not there' });
  await keeper.restart({ now: false });
  t.same(calls.slice(-2), ['launchctl bootout gui/501/peerwork.peerwork', `launchctl bootstrap gui/501 ${file}`]);
  const elsewhere = new LaunchdKeeper({ home: '/Users/me/cellar', name: 'peerwork', run, clock: systemClock, uid: 501, agents });
  await t.rejects(elsewhere.install({ name: 'peerwork', home, folder, dotenv: '', env: {}, drainMs: 0 }), { code: 'service-taken' });
  await keeper.uninstall();
  t.notOk(existsSync(file) || loaded);
  t.match(await keeper.state(), { running: false, detail: 'not loaded' });
});
