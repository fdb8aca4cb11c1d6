import { cpSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { createToken, formatToken } from '../../src/swarm/token.js';
import { version } from '../../src/version.js';
import { packageRoot } from '../lab/grid.js';
import { requireTools } from '../lab/require.js';
import { until } from '../lab/until.js';

const token = formatToken(createToken({ publicKey: nodePrimitives.randomBytes(32), trackers: ['ws://127.0.0.1:1'] }, nodePrimitives));

interface Answer {
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one command line to completion, without a terminal and with only the PATH of this environment. */
async function command(script: string, args: readonly string[], cwd: string, env: Record<string, string> = {}): Promise<Answer> {
  const { exitCode, stdout, stderr } = await execa(process.execPath, [join(packageRoot, script), ...args], {
    cwd,
    env: { PATH: process.env['PATH'] ?? '', ...env },
    extendEnv: false,
    reject: false,
    stdin: 'ignore',
    timeout: 240_000,
  });
  return { code: exitCode, stdout, stderr };
}

const peerwork = (args: readonly string[], cwd: string, env?: Record<string, string>) => command('bin/peerwork.js', args, cwd, env);
const worker = (args: readonly string[], cwd: string, env?: Record<string, string>) => command('worker.js', args, cwd, env);

t.test('--help names every command, --version the version', async (t) => {
  const help = await peerwork(['--help'], t.testdir());
  t.equal(help.code, 0);
  for (const name of ['setup', 'worker', 'master', 'token', 'tracker']) t.match(help.stdout, new RegExp(`^  ${name} `, 'm'));
  t.match(await worker(['--help'], t.testdir()), { code: 0, stdout: /--token <pw1…>[\s\S]*--setup/ });
  t.match(await peerwork(['--version'], t.testdir()), { code: 0, stdout: version });
  t.match(await peerwork([], t.testdir()), { code: 2, stderr: /Usage: peerwork/ });
});

t.test('wrong usage is refused with exit code 2 and no stack', async (t) => {
  for (const [args, expected] of [
    [['worker', '--concurency', '2'], /unknown option '--concurency'[\s\S]*--concurrency/],
    [['wroker'], /unknown command 'wroker'[\s\S]*worker/],
    [['worker', '--concurrency', 'zero'], /--concurrency is "zero", but must be a whole number from 1 to 1024.*\[option-invalid\]/],
    [['master'], /--task <folder>.*is missing.*\[option-invalid\]/],
    [['tracker', '--port', '99999'], /--port is "99999"/],
  ] as const) {
    const { code, stderr } = await peerwork(args, t.testdir());
    t.equal(code, 2, args.join(' '));
    t.match(stderr, expected);
    t.notMatch(stderr, /^\s+at /m);
  }
});

t.test('without a token the worker says what to type', async (t) => {
  const { code, stderr } = await worker([], t.testdir());
  t.equal(code, 2);
  t.match(stderr, /No token\. Run `node worker\.js --setup`, or set `token` in \.env\. \[token-missing\]/);
});

t.test('a token that is cut, mistyped, newer or none at all is refused with a message that says which', async (t) => {
  const middle = Math.floor(token.length / 2);
  const other = token[middle] === 'A' ? 'B' : 'A';
  const cases = {
    'token-cut': token.slice(0, -7),
    'token-mistyped': `${token.slice(0, middle)}${other}${token.slice(middle + 1)}`,
    'token-newer': token.replace('pw1.', 'pw2.'),
    'token-malformed': 'demoCHannel0',
  };
  for (const [code, given] of Object.entries(cases)) {
    const dir = t.testdir();
    const set = await worker(['--setup', '--token', given], dir);
    t.match(set, { code: 2, stderr: new RegExp(`\\[${code}\\]`) }, `set-up: ${code}`);
    t.notOk(existsSync(join(dir, '.env')), 'nothing is written');
    t.match(await worker([], dir, { token: given }), { code: 2, stderr: new RegExp(`\\[${code}\\]`) }, `start: ${code}`);
    t.notMatch(set.stderr, given, 'what was given is not shown');
  }
});

t.test('unattended set-up writes .env for its owner only and keeps what is not its own', async (t) => {
  const dir = t.testdir({ '.env': '# mine\nDATABASE_URL=x # keep\nname=old\n' });
  const first = await worker(['--setup', '--token', token, '--name', 'attic pi', '--concurrency', '2', '--no-allow-install-scripts'], dir);
  t.match(first, { code: 0, stdout: /Start the worker with `node worker\.js`/ });
  t.notMatch(first.stdout + first.stderr, token, 'the token is not shown');
  t.equal(statSync(join(dir, '.env')).mode & 0o777, 0o600);
  const written = `# mine\nDATABASE_URL=x # keep\nname='attic pi'\ntoken=${token}\nPEERWORK_CONCURRENCY=2\nPEERWORK_ALLOW_INSTALL_SCRIPTS=no\n`;
  t.equal(readFileSync(join(dir, '.env'), 'utf8'), written);

  t.equal(
    (await peerwork(['setup', '--memory-mb', '256', '--tracker', 'ws://a', '--tracker', 'wss://b'], dir)).code,
    0,
    'again, the token is there',
  );
  t.equal(readFileSync(join(dir, '.env'), 'utf8'), `${written}PEERWORK_MEMORY_MB=256\nPEERWORK_TRACKERS='ws://a wss://b'\n`);

  t.match(await worker(['--setup', '--concurrency', '0'], dir), { code: 2, stderr: /--concurrency is "0"/ });
  t.match(await worker(['--setup'], t.testdir()), { code: 2, stderr: /set-up needs `--token`.*\[token-missing\]/ });
  t.match(await worker(['--setup', '--token', token, '--dotenv', 'none/.env'], dir), {
    code: 2,
    stderr: /none\/\.env cannot be written/,
  });
});

t.test('on a terminal, set-up asks, checks each answer at once, and hides the token', async (t) => {
  if (!requireTools(t, { script: 'bsdutils' })) return;
  const dir = t.testdir();
  const run = `${process.execPath} ${join(packageRoot, 'worker.js')} --setup`;
  const terminal = execa('script', ['-qec', run, '/dev/null'], { cwd: dir, stdin: 'pipe', reject: false, timeout: 240_000 });
  let seen = '';
  terminal.stdout.on('data', (chunk) => {
    seen += String(chunk);
  });
  const shown = async (text: string) => {
    await until(() => seen.includes(text));
    seen = seen.slice(seen.indexOf(text) + text.length);
  };
  const clear = '\u0015';
  await shown('Token of the Master');
  terminal.stdin.write(`${token.slice(0, -4)}\r`);
  await shown('truncated');
  terminal.stdin.write(`${clear}${token}\r`);
  await shown('Name of this worker');
  terminal.stdin.write('attic\r');
  await shown('How many jobs at once');
  terminal.stdin.write('many\r');
  await shown('whole number');
  terminal.stdin.write(`${clear}3\r`);
  await shown('Memory per job');
  terminal.stdin.write('\r');
  await shown('install scripts');
  terminal.stdin.write('\r');
  const { exitCode, stdout } = await terminal;
  t.equal(exitCode, 0);
  t.notMatch(stdout, token.slice(4, 40), 'the token was never shown');
  t.equal(
    readFileSync(join(dir, '.env'), 'utf8'),
    `token=${token}\nname=attic\nPEERWORK_CONCURRENCY=3\nPEERWORK_MEMORY_MB=512\nPEERWORK_ALLOW_INSTALL_SCRIPTS=no\n`,
  );
  t.equal(statSync(join(dir, '.env')).mode & 0o777, 0o600);
});

t.test('a Master refuses a bad input whole, with the numbers of the first bad lines', async (t) => {
  const lines = [
    '{"data":1}',
    'no json',
    '{"id":"a","data":1}',
    '{}',
    '{"data":1,"priorty":3}',
    '{"id":"a","data":2}',
    '{"data":1,"channel":"blue"}',
  ];
  const dir = t.testdir({ task: { 'task.js': 'module.exports = (data) => data;' }, 'jobs.ndjson': lines.join('\n') });
  const { code, stderr } = await peerwork(['master', '--task', 'task', '--input', 'jobs.ndjson', '--output', 'out.ndjson'], dir);
  t.equal(code, 2);
  for (const expected of [
    /line 2: is not JSON/,
    /line 4: data is missing/,
    /line 5: there is no field "priorty"/,
    /line 6: has the same id as line 3/,
    /line 7: no --task serves its channel "blue"/,
  ])
    t.match(stderr, expected);
  t.match(stderr, /\[job-invalid\]/);
  t.notOk(existsSync(join(dir, 'out.ndjson')) || existsSync(join(dir, '.peerwork')), 'nothing was begun');
});

t.test('a Master refuses what it cannot use before it prints a token', async (t) => {
  const dir = t.testdir({
    task: { 'task.js': 'module.exports = (data) => data;' },
    empty: {},
    'notes.txt': 'not an outcome\n',
    'half.txt': 'no line end',
  });
  const base = ['master', '--ledger', 'memory:', '--tracker', 'ws://127.0.0.1:1'];
  for (const [args, expected] of [
    [['--task', 'missing'], /\[task-folder-missing\]/],
    [['--task', 'empty'], /\[task-entry-missing\]/],
    [['--task', 'task', '--task', 'default=empty'], /two folders for the channel default/],
    [['--task', 'task', '--input', 'missing.ndjson'], /missing\.ndjson.*\[file-missing\]/],
    [['--task', 'task', '--output', 'notes.txt'], /line 1 is no outcome/],
    [['--task', 'task', '--output', 'half.txt'], /holds something else/],
  ] as const) {
    const { code, stdout, stderr } = await peerwork([...base, ...args], dir);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, expected);
    t.equal(stderr.trim().split('\n').length, 1, 'said once');
    t.equal(stdout, '', 'no token');
  }
  t.equal(readFileSync(join(dir, 'half.txt'), 'utf8'), 'no line end', 'a foreign file is left alone');
});

t.test('the same ledger or key file gives the same token, in a file for its owner only', async (t) => {
  const dir = t.testdir();
  const first = await peerwork(['token', '--ledger', 'sqlite:jobs.db'], dir);
  t.match(first, { code: 0, stdout: /^pw1\.[\w-]+$/, stderr: '' });
  t.equal((await peerwork(['token', '--key-file', 'jobs.db.key'], dir)).stdout, first.stdout);
  t.equal(statSync(join(dir, 'jobs.db.key')).mode & 0o777, 0o600);
  t.not((await peerwork(['token', '--ledger', 'sqlite:other.db'], dir)).stdout, first.stdout);
  t.match(await peerwork(['token', '--ledger', 'memory:'], dir), { code: 2, stderr: /--key-file/ });
});

t.test('a clone that is not built says so', async (t) => {
  const dir = t.testdir();
  mkdirSync(join(dir, 'bin'));
  cpSync(join(packageRoot, 'bin/peerwork.js'), join(dir, 'bin/peerwork.js'));
  cpSync(join(packageRoot, 'worker.js'), join(dir, 'worker.js'));
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}');
  const { exitCode, stderr } = await execa(process.execPath, ['worker.js', '--setup'], { cwd: dir, reject: false });
  t.equal(exitCode, 2);
  t.match(stderr, /not built yet. Run `npm run build`/);
});
