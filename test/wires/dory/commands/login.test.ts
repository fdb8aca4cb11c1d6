import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { packageRoot } from '../../../lab/grid.js';
import { FakeApi } from '../source/fake-api.js';

const api = await FakeApi.start();
t.teardown(() => api.close());

async function peerwork(args: readonly string[], home: string, env: Record<string, string> = {}, input?: string) {
  const { exitCode, stdout, stderr } = await execa(process.execPath, [join(packageRoot, 'bin', 'peerwork.js'), ...args], {
    cwd: home,
    env: { PATH: process.env['PATH'] ?? '', HOME: home, ...env },
    extendEnv: false,
    reject: false,
    timeout: 240_000,
    ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
  });
  return { code: exitCode, stdout, stderr };
}

t.test('login stores a key of its own, whoami names it, logout removes it', async (t) => {
  const home = t.testdir();
  const file = join(home, '.dory', 'credentials');
  const login = await peerwork(['login', '--api', `${api.url}/`, '-u', 'ada', '-p', '-', '--label', 'attic'], home, {}, 'correct horse\n');
  t.match(login, { code: 0, stdout: /Logged in at http:.* as ada \(attic\)/ });
  const stored = JSON.parse(readFileSync(file, 'utf8'));
  t.match(stored, { apiBaseUrl: api.url, username: 'ada', label: 'attic', apiKey: /^dwk_minted/, createdAt: /^\d{4}-/ });
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.notMatch(login.stdout + login.stderr, /dwk_|correct horse/);
  t.notMatch(readFileSync(file, 'utf8'), /correct horse/, 'the password is not kept');

  const whoami = await peerwork(['whoami'], home);
  t.match(whoami, { code: 0, stdout: new RegExp(`user   ada\napi    ${api.url}\nlabel  attic\nkey    from .*credentials`) });
  t.notMatch(whoami.stdout, /dwk_/);
  t.match(await peerwork(['whoami'], home, { API_BASE_URL: 'http://other' }), { code: 2, stderr: /dory-key-elsewhere/ });

  t.match(await peerwork(['logout'], home), { code: 0, stdout: /removed/ });
  t.notOk(existsSync(file));
  t.match(await peerwork(['logout'], home), { code: 0, stdout: /Nobody/ });
  t.match(await peerwork(['whoami'], home), { code: 3, stderr: /not logged in.*dory-key-missing/ });
});

t.test('login takes everything from the environment, and the password from stdin unasked', async (t) => {
  const home = t.testdir();
  const env = { API_BASE_URL: api.url, DORY_USERNAME: 'ada', DORY_PASSWORD: 'correct horse' };
  t.equal((await peerwork(['login'], home, env)).code, 0);
  const { DORY_PASSWORD: _, ...withoutPassword } = env;
  t.equal((await peerwork(['login'], home, withoutPassword, 'correct horse\n')).code, 0);
});

t.test('login says what is wrong, and stores nothing then', async (t) => {
  const home = t.testdir();
  const env = { API_BASE_URL: api.url, DORY_USERNAME: 'ada' };
  const wrong = await peerwork(['login'], home, { ...env, DORY_PASSWORD: 'wrong-password' });
  t.match(wrong, { code: 3, stderr: /rejected the login.*dory-login-refused/ });
  t.notMatch(wrong.stderr, /wrong-password/);
  t.match(await peerwork(['login'], home, env), { code: 2, stderr: /no password/ });
  t.match(await peerwork(['login'], home, { API_BASE_URL: api.url }), { code: 2, stderr: /--username/ });
  t.match(await peerwork(['login', '--api', 'ftp://x'], home, env), { code: 2, stderr: /--api is "ftp:/ });
  t.match(await peerwork(['login', '--api', 'http://127.0.0.1:1'], home, { ...env, DORY_PASSWORD: 'p' }), {
    code: 2,
    stderr: /dory-api-unreachable/,
  });
  t.notOk(existsSync(join(home, '.dory', 'credentials')));
});

t.test('a key of the environment is shown as such', async (t) => {
  const answer = await peerwork(['whoami'], t.testdir(), { API_BASE_URL: api.url, WORKER_API_KEY: 'dwk_of-the-environment' });
  t.match(answer, { code: 0, stdout: /key {4}from WORKER_API_KEY/ });
  t.notMatch(answer.stdout, /dwk_/);
});

t.test('a Worker for a dory-api that is not logged in says so', async (t) => {
  const answer = await peerwork(['worker', '--sandbox', 'off'], t.testdir(), { API_BASE_URL: api.url });
  t.not(answer.code, 0);
  t.match(answer.stdout + answer.stderr, /dory-(key|runner)-missing/);
});
