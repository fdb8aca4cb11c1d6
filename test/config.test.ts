import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { resolveOptions } from '../src/cli/options.js';
import { optionNames, optionSpec } from '../src/config.js';
import { PeerworkError } from '../src/errors.js';
import { redact } from '../src/log.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (thrown) {
    if (thrown instanceof PeerworkError && thrown.code === 'option-invalid') return thrown.message;
    throw thrown;
  }
  return 'was not refused';
}

t.test('.env.example and the docs are what the tables say', async (t) => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/generate.mjs', '--check'], { cwd: root, encoding: 'utf8' });
  t.equal(status, 0, stderr || 'up to date');
});

t.test('every variable stands in .env.example once, commented out, and in the docs', async (t) => {
  const example = readFileSync(`${root}/.env.example`, 'utf8');
  const docs = readFileSync(`${root}/docs/configuration.md`, 'utf8');
  for (const name of optionNames) {
    const { env, flag } = optionSpec(name);
    t.ok(docs.includes(`\`${flag}\``), `${flag} is documented`);
    if (env === undefined) continue;
    t.equal(example.split('\n').filter((line) => line.startsWith(`# ${env}=`)).length, 1, `${env} is in .env.example`);
  }
  t.notMatch(example, /^\w+=/m, 'copied as it is, it changes nothing');
});

t.test('queue-xec’s names are honoured', async (t) => {
  const secret = 'abcdefghijklmnopqrstuvwxyz012345';
  const options = resolveOptions('worker', { dotenv: { token: 'pw1.x', transferEncryptToken: secret, name: 'pi', LOG_LEVEL: 'DEBUG' } });
  t.match(options, { token: 'pw1.x', transferEncryptToken: secret, name: 'pi', logLevel: 'debug' });
});

t.test('flags beat the environment, which beats .env, which beats the default', async (t) => {
  const dotenv = { name: 'file', PEERWORK_CONCURRENCY: '1', PEERWORK_MEMORY_MB: '100' };
  const env = { name: 'env', PEERWORK_CONCURRENCY: '2' };
  const options = resolveOptions('worker', { flags: { name: 'flag' }, env, dotenv });
  t.match(options, { name: 'flag', concurrency: 2, memoryMb: 100, logLevel: 'info', allowInstallScripts: false });
  t.match(
    resolveOptions('worker', { env: { name: ' ', PEERWORK_CONCURRENCY: '' }, dotenv }),
    { name: 'file', concurrency: 1 },
    'empty is absent',
  );
});

t.test('switches are yes or no from wherever they come', async (t) => {
  const of = (flags: object, env = {}) => resolveOptions('worker', { flags, env }).allowInstallScripts;
  t.equal(of({ allowInstallScripts: true }), true);
  t.equal(of({ allowInstallScripts: false }, { PEERWORK_ALLOW_INSTALL_SCRIPTS: 'yes' }), false);
  for (const yes of ['yes', 'true', '1', 'ON']) t.equal(of({}, { PEERWORK_ALLOW_INSTALL_SCRIPTS: yes }), true, yes);
});

t.test('lists come from repeated flags, or from one variable', async (t) => {
  const urls = ['ws://127.0.0.1:8000', 'wss://tracker.example'];
  t.same(resolveOptions('master', { flags: { trackers: urls } }).trackers, urls);
  t.same(resolveOptions('master', { env: { PEERWORK_TRACKERS: urls.join(', ') } }).trackers, urls);
  t.same(resolveOptions('master', { env: { PEERWORK_TRACKERS: urls.join(' ') } }).trackers, urls);
});

t.test('words of a network may be separated by commas, as in a variable', async (t) => {
  const words = ['internet', 'nas.example', '192.168.1.20:5432'];
  t.same(resolveOptions('worker', { flags: { taskNetwork: ['internet,nas.example', '192.168.1.20:5432'] } }).taskNetwork, words);
  t.same(resolveOptions('worker', { env: { PEERWORK_TASK_NETWORK: words.join(', ') } }).taskNetwork, words);
});

t.test('a value that cannot be used is refused with place, value and what is allowed', async (t) => {
  const cases: [Parameters<typeof resolveOptions>, RegExp][] = [
    [['worker', { flags: { concurrency: 'zero' } }], /--concurrency is "zero", but must be a whole number from 1 to 1024/],
    [['worker', { env: { PEERWORK_CONCURRENCY: '0' } }], /PEERWORK_CONCURRENCY in the environment is "0"/],
    [['worker', { dotenv: { PEERWORK_CONCURRENCY: '1.5' } }], /PEERWORK_CONCURRENCY in \.env is "1\.5"/],
    [['worker', { flags: { memoryMb: '-5' } }], /--memory-mb is "-5"/],
    [['worker', { flags: { name: '' } }], /--name is "", but must be 1 to 64 printable characters/],
    [['worker', { flags: { name: 'a\nb' } }], /--name/],
    [['worker', { flags: { name: 'x'.repeat(65) } }], /--name/],
    [
      ['worker', { env: { LOG_LEVEL: 'loud' } }],
      /LOG_LEVEL in the environment is "loud", but must be one of off, error, warn, info, debug/,
    ],
    [['worker', { env: { PEERWORK_ALLOW_INSTALL_SCRIPTS: 'maybe' } }], /must be yes or no/],
    [
      ['master', { flags: { trackers: ['http://tracker.example'] } }],
      /--tracker is "http:\/\/tracker\.example", but must be ws:\/\/ or wss:\/\/ URLs/,
    ],
    [
      ['worker', { flags: { taskNetwork: ['deny'] } }],
      /--task-network is "deny", but must be `none`, `internet`, host:port, or a name with a dot/,
    ],
    [['worker', { env: { PEERWORK_CONTAINER_NETWORK: 'internet,http://x' } }], /PEERWORK_CONTAINER_NETWORK/],
    [['master', { flags: { ledger: 'mysql://x' } }], /--ledger is "mysql:\/\/x", but must be sqlite:FILE, postgres:/],
    [['master', { flags: { leaseMs: '10' } }], /--lease-ms/],
    [['tracker', { flags: { trackerPort: '65536' } }], /--port/],
  ];
  for (const [args, expected] of cases)
    t.match(
      refusal(() => resolveOptions(...args)),
      expected,
    );
});

t.test('a secret is not shown when it is refused, nor afterwards', async (t) => {
  const message = refusal(() => resolveOptions('worker', { dotenv: { transferEncryptToken: 'much-too-short-secret' } }));
  t.match(message, /transferEncryptToken in \.env must be exactly 32 characters/);
  t.notMatch(message, /much-too-short/);
  t.equal(redact('much-too-short-secret'), '[secret]');
  t.notMatch(
    refusal(() => resolveOptions('master', { flags: { ice: ['http://user:password1234@host'] } })),
    /password1234/,
  );
});

t.test('a command has its own options only', async (t) => {
  t.equal(resolveOptions('tracker', { env: { token: 'not even looked at', PEERWORK_CONCURRENCY: 'nonsense' } }).token, undefined);
});
