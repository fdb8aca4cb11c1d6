import { chownSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { chownFolder, serviceFolder, writeRecord } from '../../src/cli/service/record.js';
import { serviceEnvironment } from '../../src/cli/service/start-bg.js';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { createToken, formatToken } from '../../src/swarm/token.js';
import { packageRoot } from '../lab/grid.js';
import { requireTools } from '../lab/require.js';
import { OwnersFolder } from '../lab/service.js';
import { until } from '../lab/until.js';

const token = formatToken(createToken({ publicKey: nodePrimitives.randomBytes(32), trackers: ['ws://127.0.0.1:1'] }, nodePrimitives));

t.test('without a terminal, configure writes what the flags say, and refuses a Worker that would serve nobody', async (t) => {
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  t.match(await owner.type('configure', '--name', 'attic'), { code: 3, stderr: /\[worker-unconfigured\]/ });
  t.match(await owner.type('configure', '--token', token.slice(0, -5)), { code: 2, stderr: /\[token-cut\]/ });
  t.match(await owner.type('configure', '--concurrency', 'many', '--token', token), { code: 2, stderr: /\[option-invalid\]/ });
  t.notOk(existsSync(owner.file('.env')), 'a refusal writes nothing');

  writeFileSync(owner.file('.env'), '# mine\nOTHER=1\n');
  const done = await owner.type(
    'configure',
    '--token',
    token,
    '--name',
    'attic',
    '--label',
    'gpu',
    '--label',
    'big',
    '--no-allow-install-scripts',
  );
  t.match(done, { code: 0, stdout: /serves: master[\s\S]*health[\s\S]*start-bg/ });
  t.notMatch(done.stdout + done.stderr, token);
  const written = `# mine\nOTHER=1\ntoken=${token}\nname=attic\nPEERWORK_ALLOW_INSTALL_SCRIPTS=no\nPEERWORK_LABELS='gpu big'\n`;
  t.same(readFileSync(owner.file('.env'), 'utf8').split('\n').sort(), written.split('\n').sort());
  t.equal(statSync(owner.file('.env')).mode & 0o777, 0o600);
  t.match(await owner.type('configure', '--memory-mb', '256'), { code: 0 });
  t.match(readFileSync(owner.file('.env'), 'utf8'), /name=attic[\s\S]*PEERWORK_MEMORY_MB=256/, 'the rest stays');
  t.match(await owner.type('configure', '--without', 'master'), { code: 3 });
  t.match(await owner.type('configure', '--without', 'nobody'), { code: 2, stderr: /must be of master/ });
  t.match(readFileSync(owner.file('.env'), 'utf8'), token, 'still there');
});

t.test('on a terminal, configure asks, and offers what is there', async (t) => {
  if (!requireTools(t, { script: 'bsdutils' })) return;
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  writeFileSync(owner.file('.env'), `PEERWORK_SANDBOX=auto\ntoken=${token}\nname=old\n`);
  const run = `${process.execPath} ${join(packageRoot, 'bin', 'peerwork.js')} configure`;
  const terminal = execa('script', ['-qec', run, '/dev/null'], { cwd: owner.path, stdin: 'pipe', reject: false, timeout: 240_000 });
  let seen = '';
  terminal.stdout.on('data', (chunk) => {
    seen += String(chunk);
  });
  let answered = false;
  terminal.finally(() => {
    answered = true;
  });
  const answer = async (question: string, keys: string) => {
    await until(() => answered || seen.includes(question));
    seen = seen.slice(seen.indexOf(question) + question.length);
    terminal.stdin.write(keys);
  };
  // If no source besides the Master is built in, there is nothing to choose from; otherwise the Master stays selected.
  await until(() => answered || /Which system|Token of the Master/.test(seen));
  if (seen.includes('Which system')) terminal.stdin.write('\r');
  await answer('Enter keeps the present one', '\r');
  await answer('Name of this worker', '\u0015new\r');
  await answer('How many jobs at once', '\u00152\r');
  await answer('Memory per job', '\r');
  await answer('install scripts', '\r');
  const { exitCode, stdout } = await terminal;
  t.equal(exitCode, 0, stdout);
  t.match(readFileSync(owner.file('.env'), 'utf8'), `token=${token}\nname=new\nPEERWORK_CONCURRENCY=2\n`);
});

t.test('start refuses with 3 what start would not help', async (t) => {
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  t.match(await owner.type('start'), { code: 3, stderr: /\[worker-unconfigured\]/ });
  t.match(await owner.type('start', '--token', token.slice(0, -5)), { code: 2, stderr: /\[token-cut\]/ });
  writeFileSync(owner.file('.env'), `token=${token}\n`);
  const working = owner.begin('start');
  let text = '';
  working.stdout?.on('data', (chunk) => {
    text += String(chunk);
  });
  const ended = new Promise((resolve) => working.once('close', resolve));
  await until(() => text.includes('worker starts'));
  working.kill('SIGTERM');
  t.equal(await ended, 0);
});

t.test('a service gets of the environment what finds programs and the network, and nothing else', async (t) => {
  const given = {
    HOME: '/home/pi',
    PATH: '/usr/bin:relative:/opt/bin',
    https_proxy: 'http://proxy',
    token,
    AWS_SECRET: 'x',
    PEERWORK_HOME: '/x',
    LANG: 'C',
  };
  const env = serviceEnvironment({ environment: given });
  t.same(Object.keys(env).sort(), ['HOME', 'LANG', 'PATH', 'https_proxy']);
  t.equal(env['PATH']?.split(':')[0], join(process.execPath, '..'), 'this node, and the npm beside it, come first');
  t.notOk(env['PATH']?.includes('relative'));
  const sudo = { ...given, HOME: '/root', XDG_RUNTIME_DIR: '/run/user/0' };
  const other = serviceEnvironment({ forOtherUser: true, environment: sudo });
  t.same(Object.keys(other).sort(), ['LANG', 'PATH', 'https_proxy'], 'another user has other folders');
});

t.test('what root changes stays with its owner', async (t) => {
  if (!requireTools(t, {}, { root: true })) return;
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  writeFileSync(owner.file('.env'), `token=${token}\n`);
  chownSync(owner.file('.env'), 65534, 65534);
  t.match(await owner.type('configure', '--name', 'attic'), { code: 0 });
  t.match(statSync(owner.file('.env')), { uid: 65534, gid: 65534 });
  const home = owner.file('.peerwork');
  await writeRecord(serviceFolder(home, 'attic'), {
    ...{ name: 'attic', keeper: 'systemd-system', home, folder: owner.path, dotenv: owner.file('.env') },
    ...{ drainMs: 1_000, env: {}, installedAt: 0 },
  });
  await chownFolder(home, 'attic', { uid: 65534, gid: 65534 });
  for (const path of [home, serviceFolder(home, 'attic'), join(serviceFolder(home, 'attic'), 'service.json')])
    t.match(statSync(path), { uid: 65534, gid: 65534 }, path);
});

t.test('the end of set-up says how to go on', async (t) => {
  const owner = new OwnersFolder({ script: join(packageRoot, 'worker.js') });
  t.teardown(() => owner.close());
  t.match(await owner.type('--setup', '--token', token), { code: 0, stdout: /node worker\.js.*start-bg.*health/s });
});
