import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { createToken, formatToken } from '../../src/swarm/token.js';
import { packageRoot } from '../lab/grid.js';
import { requireThat, requireTools } from '../lab/require.js';

/** An installation and a build, on a machine that has others to do. */
t.setTimeout(1_500_000);

const token = formatToken(createToken({ publicKey: nodePrimitives.randomBytes(32), trackers: ['ws://127.0.0.1:1'] }, nodePrimitives));

t.test('in a fresh clone set-up installs, builds, and writes .env, without a terminal too', async (t) => {
  if (!requireTools(t, { git: 'git' })) return;
  if (!requireThat(t, existsSync(join(packageRoot, '.git')), 'this is no clone')) return;
  const folder = join(t.testdir(), 'peerwork');
  await execa('git', ['clone', '--quiet', packageRoot, folder]);
  // What is not committed yet counts as well.
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
});
