import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { createToken, formatToken } from '../../src/swarm/token.js';
import { Worker } from '../../src/worker/worker.js';
import { packageRoot } from '../lab/grid.js';
import { requireTools } from '../lab/require.js';
import { OwnersFolder } from '../lab/service.js';
import { until } from '../lab/until.js';

const token = formatToken(createToken({ publicKey: nodePrimitives.randomBytes(32), trackers: ['ws://127.0.0.1:1'] }, nodePrimitives));
const half = token.slice(0, 60);
const rest = token.slice(60);
/** Whether a text contains eight consecutive characters of the token. */
const leaks = (text: string) => {
  for (let at = 4; at + 8 <= token.length; at += 1) if (text.includes(token.slice(at, at + 8))) return token.slice(at, at + 8);
  return '';
};

t.test('a token, or half of one, in the wrong place of a command line is never shown', async (t) => {
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  for (const args of [
    [token],
    [rest],
    ['worker', token],
    ['worker', half, rest],
    ['worker', `--${token}`],
    ['worker', `--tokn=${token}`],
    ['worker', `--tokn=${rest}`],
    ['worker', '--tokn', token],
    ['worker', '--concurrency', token],
    ['worker', '--concurrency', rest],
    ['worker', '--name', token],
    ['worker', '--dotenv', token],
    ['worker', '--token', `${token}x`],
    ['worker', '--token', rest],
    ['worker', '--setup', '--token', half],
    ['login', '--api', token],
    ['master', '--task', token],
    ['job', token],
    ['help', token],
  ]) {
    const { code, stdout, stderr } = await owner.type(...args);
    t.ok(code !== 0 || args[0] === 'help');
    t.equal(leaks(stdout + stderr), '', `${args[0]} ${(args[1] ?? '').slice(0, 9)}`);
  }
});

t.test('a token in a variable or a .env is found as it was pasted there, and never shown', async (t) => {
  for (const pasted of [`Token: ${token}`, `'${token}'`, `PEERWORK_TOKEN=${token}`]) {
    const owner = new OwnersFolder({ env: { PEERWORK_BUBBLEWRAP: '/nowhere/bwrap' } });
    t.teardown(() => owner.close());
    const given = new OwnersFolder({ path: owner.path, env: { token: pasted, PEERWORK_BUBBLEWRAP: '/nowhere/bwrap' } });
    t.match(await given.type('setup', '--name', 'x'), { code: 0 });
    t.match(readFileSync(owner.file('.env'), 'utf8'), new RegExp(`^token=${token}$`, 'm'), 'kept bare');
    writeFileSync(owner.file('.env'), `token=${pasted}\n`);
    t.match(await owner.type('configure', '--name', 'y'), { code: 0 });
  }
  const cut = new OwnersFolder({ env: { PEERWORK_BUBBLEWRAP: '/nowhere/bwrap' } });
  t.teardown(() => cut.close());
  writeFileSync(cut.file('.env'), `# mine\ntoken=${half}\n${rest}\nname=a\n`);
  t.match(await cut.type('configure', '--name', 'b'), { code: 0 });
  t.match(await cut.type('setup', '--token', `${half}\n  ${rest}\nDashboard: http://127.0.0.1:8470/`), { code: 0 });
  t.match(readFileSync(cut.file('.env'), 'utf8'), new RegExp(`^token=${token}$`, 'm'));
});

t.test('an embedded Worker takes a token as it was pasted', async (t) => {
  const worker = new Worker({ token: `Token: ${half}\n${rest}\n`, home: t.testdir(), name: 'x' });
  worker.on('error', () => {});
  await worker.close();
  t.throws(() => new Worker('Token: pw1.abc'), { code: 'token-cut' });
});

t.test('on a terminal a paste is taken as a whole, and nothing of it is shown', async (t) => {
  if (!requireTools(t, { script: 'bsdutils' })) return;
  const wrapped = `Token: ${half}\r${rest}\rDashboard: http://127.0.0.1:8470/\r`;
  for (const [name, pastes] of [
    ['with line ends', [wrapped]],
    ['in brackets', [`\u001b[200~${wrapped}\u001b[201~\r`]],
    ['half by half', [`${half}\r`, `${rest}\r`]],
    ['a wrong one first', [`${half}${rest.slice(0, -1)}\r`, `${token}\r`]],
  ] as const) {
    const dir = t.testdir();
    const run = `${process.execPath} ${join(packageRoot, 'worker.js')} --setup`;
    const env = { PEERWORK_SANDBOX: 'auto', PEERWORK_BUBBLEWRAP: '/nowhere/bwrap' };
    const terminal = execa('script', ['-qec', run, '/dev/null'], { cwd: dir, env, stdin: 'pipe', reject: false, timeout: 240_000 });
    let all = '';
    let seen = '';
    terminal.stdout.on('data', (chunk) => {
      all += String(chunk);
      seen += String(chunk);
    });
    const shown = async (text: string) => {
      await until(() => seen.includes(text) || terminal.exitCode !== null);
      seen = seen.slice(seen.indexOf(text) + text.length);
    };
    await shown('Token of the Master');
    for (const [index, paste] of pastes.entries()) {
      terminal.stdin.write(paste);
      if (index + 1 < pastes.length) await shown('truncated');
    }
    await shown('Name of this worker');
    // The same paste again, into the wrong question.
    terminal.stdin.write(`${rest}\r`);
    await shown('does not belong here');
    terminal.stdin.write('\u0015attic\r');
    await shown('How many jobs at once');
    terminal.stdin.write('\r');
    await shown('Memory per job');
    terminal.stdin.write('\r');
    await shown('install scripts');
    terminal.stdin.write('\r');
    const { exitCode } = await terminal;
    t.equal(exitCode, 0, `${name}: ${all}`);
    t.equal(leaks(all), '', `${name}: nothing is shown`);
    t.ok(existsSync(join(dir, '.env')) && readFileSync(join(dir, '.env'), 'utf8').startsWith(`token=${token}\nname=attic\n`), name);
  }
});
