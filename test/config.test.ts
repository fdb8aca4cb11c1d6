import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { longFlag, optionNames, optionSpec } from '../src/cli/option-table.js';
import { resolveOptions } from '../src/cli/options.js';
import { wires } from '../src/cli/wires.js';
import { systemClock } from '../src/clock.js';
import { coreOptions } from '../src/config/core.js';
import { DEFAULT_MEMORY_MB } from '../src/config/defaults.js';
import { engineOptions } from '../src/containers/owner-options.js';
import { PeerworkError } from '../src/errors.js';
import { redact, silentLog } from '../src/log.js';
import { readSettings } from '../src/wires/openfn/source/options.js';

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

t.test('each default is written once: in a defaults.ts, which an option table and a room use', async (t) => {
  const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  const texts = new Map(files.map((file) => [file.split(sep).join('/'), readFileSync(join(root, 'src', file), 'utf8')]));
  const isTable = (file: string) => /^config\/|^wires\/[\w-]+\/(?:options|constructors)\.ts$/.test(file);
  for (const [file, text] of texts) {
    if (isTable(file)) t.notMatch(text, /defaultText: '\d+'/, `${file} has no number of its own`);
    if (/constructors\.ts$/.test(file)) t.notMatch(text, /default: ['"`]+\d/, `${file} has no number of its own`);
    if (!/^(?:config|wires\/[\w-]+)\/defaults\.ts$/.test(file)) continue;
    const shared = [...texts].filter(
      ([user, lines]) =>
        user !== file && (user.startsWith(`${dirname(file)}/`) || file.startsWith('config/')) && /defaults\.js'/.test(lines),
    );
    for (const [, name = ''] of text.matchAll(/export const (\w+)/g)) {
      const users = shared.filter(([, lines]) => new RegExp(`\\b${name}\\b`).test(lines)).map(([user]) => user);
      t.ok(users.some(isTable), `${name} of ${file} is shown by a table`);
      t.ok(
        users.some((user) => !isTable(user)),
        `${name} of ${file} is what a room uses`,
      );
    }
  }
});

t.test('the defaults that are shown are in force', async (t) => {
  const place = { worker: 'w', folder: root, memoryMb: DEFAULT_MEMORY_MB, clock: systemClock, log: silentLog };
  const { engine, pull, pullTimeoutMs, imageQuotaMb, ceilings } = engineOptions({}, place);
  const shown = (name: 'pullTimeoutMs' | 'imageQuotaMb' | 'containerPids' | 'containerDiskMb') => Number(optionSpec(name).defaultText);
  t.same([engine, pull], [optionSpec('containers').default, optionSpec('pull').default]);
  t.same([pullTimeoutMs, imageQuotaMb], [shown('pullTimeoutMs'), shown('imageQuotaMb')]);
  t.same([ceilings.pids, ceilings.diskMb], [shown('containerPids'), shown('containerDiskMb')]);
  t.equal(ceilings.defaultMemoryMb, Number(optionSpec('memoryMb').defaultText));
  const { messageMs, claimMs, payloadLimitMb, backoffMs, sendFinalState } = readSettings({ url: 'ws://localhost:4000/worker' });
  t.same(
    [messageMs, claimMs].map((ms) => String(ms / 1_000)),
    [optionSpec('openfnMessageSeconds').defaultText, optionSpec('openfnClaimSeconds').defaultText],
  );
  t.equal(String(payloadLimitMb), optionSpec('openfnPayloadMb').defaultText);
  t.equal(backoffMs.map((ms) => ms / 1_000).join('/'), optionSpec('openfnBackoff').defaultText);
  t.equal(sendFinalState, optionSpec('openfnFinalState').default);
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

t.test('what wires bring takes nothing away from others', async (t) => {
  t.equal(
    optionNames.length,
    [coreOptions, ...wires.map(({ options }) => options)].flatMap((table) => Object.keys(table)).length,
    'each name once',
  );
  const taken = new Map<string, string>();
  for (const name of optionNames) {
    const { commands, env } = optionSpec(name);
    for (const command of commands) {
      const place = `${command} ${longFlag(optionSpec(name))}`;
      t.equal(taken.get(place), undefined, `${place} of ${name}`);
      taken.set(place, name);
    }
    if (env !== undefined) t.equal(taken.get(env), undefined, `${env} of ${name}`);
    taken.set(env ?? '', '');
  }
  for (const { name, questions = [], options } of wires)
    t.same(
      questions.filter((key) => !(key in options)),
      [],
      `${name} asks for its own options`,
    );
});
