import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { createToken, formatToken } from '../../src/swarm/token.js';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { packageRoot } from '../lab/grid.js';
import { temporaryFolder } from '../lab/open-source.js';
import { requireThat, requireTools } from '../lab/require.js';

/** Excludes git's history. */
const MAX_CLONE_MB = 150;

/** An installation and a build, on a busy machine. */
t.setTimeout(1_500_000);

const token = formatToken(createToken({ publicKey: nodePrimitives.randomBytes(32), trackers: ['ws://127.0.0.1:1'] }, nodePrimitives));

t.test('in a fresh clone set-up installs, builds, and writes .env, without a terminal too', async (t) => {
  if (!requireTools(t, { git: 'git' })) return;
  if (!requireThat(t, existsSync(join(packageRoot, '.git')), 'this is no clone')) return;
  // Outside of every clone, whose packages Node would otherwise find from below.
  const folder = join(temporaryFolder(t, 'clone'), 'peerwork');
  await execa('git', ['clone', '--quiet', packageRoot, folder]);
  // Uncommitted changes count as well.
  const changed = await execa('git', ['diff', 'HEAD', '--binary'], { cwd: packageRoot, stripFinalNewline: false });
  if (changed.stdout !== '') await execa('git', ['apply', '--whitespace=nowarn'], { cwd: folder, input: changed.stdout });
  const env = { PEERWORK_BUBBLEWRAP: '/nowhere/bwrap' };
  const run = (...args: readonly string[]) =>
    execa(process.execPath, ['worker.js', ...args], { cwd: folder, env, stdin: 'ignore', reject: false });

  const first = await run('--setup', '--token', token, '--name', 'attic');
  t.equal(first.exitCode, 0, first.stderr);
  t.match(first.stderr, /used for the first time[\s\S]*setup: installing dependencies[\s\S]*setup: building/);
  t.match(first.stdout, /^Written to \.env/, 'what others read holds nothing of npm');
  t.match(readFileSync(join(folder, '.env'), 'utf8'), `token=${token}\nname=attic\n`);
  t.notMatch(first.stdout + first.stderr, token);
  const again = await run('--setup', '--concurrency', '2');
  t.equal(again.exitCode, 0);
  t.notMatch(again.stderr, /setup:/, 'once is enough');
  const { stdout: size } = await execa('du', ['-sm', '--exclude=.git', folder]);
  t.ok(Number.parseInt(size, 10) <= MAX_CLONE_MB, `${size.split('\t')[0]} MB`);

  // It is complete enough to be a Master and a Worker.
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const hello = [
    '--task',
    'assets/tasks/hello',
    '--input',
    'assets/tasks/hello.ndjson',
    '--http',
    '127.0.0.1:0',
    '--output',
    'outcomes.ndjson',
  ];
  const master = execa(process.execPath, ['bin/peerwork.js', 'master', ...hello, '--tracker', tracker.url], {
    cwd: folder,
    stdin: 'ignore',
  });
  t.teardown(() => master.kill());
  let text = '';
  master.stdout.on('data', (chunk) => {
    text += chunk;
    const given = /^Token: (\S+)\n/m.exec(text)?.[1];
    if (given === undefined) return;
    text = '';
    const worker = execa(process.execPath, ['worker.js', '--token', given], { cwd: folder, env, stdin: 'ignore', reject: false });
    t.teardown(() => worker.kill());
  });
  await master;
  t.match(readFileSync(join(folder, 'outcomes.ndjson'), 'utf8'), /"state":"completed"/);

  // A developer gets the rest with the first command that needs it.
  const built = await execa('npm', ['run', 'build'], { cwd: folder, stdin: 'ignore', reject: false });
  t.equal(built.exitCode, 0, built.stderr);
  t.match(built.stderr, /setup: installing dependencies/);
  t.ok(existsSync(join(folder, 'build/test/floors.test.js')), 'the tests too');
});
