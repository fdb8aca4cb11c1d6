import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { main } from '../../src/cli/main.js';
import { longFlag, type OptionName, optionSpec, optionsOf } from '../../src/cli/option-table.js';
import { attributeOf, commandWithOptions, readDotenv, resolveOptions } from '../../src/cli/options.js';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { createToken, formatToken } from '../../src/swarm/token.js';
import { OwnersFolder } from '../lab/service.js';
import { until } from '../lab/until.js';

const token = formatToken(createToken({ publicKey: nodePrimitives.randomBytes(32), trackers: ['ws://127.0.0.1:1'] }, nodePrimitives));

/** Values that a naive .env writer would garble. */
const ODD = [
  "O'Brien",
  'say "hi"',
  'a`b',
  'x # y',
  '$HOME $(id)',
  'back\\slash\\',
  'ünïcode 名前 🦆',
  ' blanks ',
  '`"\' all # of them',
  '["x"]',
  '#',
  '=x=',
  '%d\\n',
];
const ODDER = [...ODD, '   ', 'two\nlines\r\n', '\'"`\n'];

/** Valid values for each option of a Worker; several values are tried in turn, a list stands for a repeated flag. */
const samples: Readonly<Partial<Record<OptionName, readonly (string | boolean | readonly string[])[]>>> = {
  token: [token],
  name: ODD,
  transferEncryptToken: [`${'x'.repeat(24)} '"\`#$üzzzzzzzz`.slice(0, 32)],
  npmCredentials: [['@company', '@other']],
  installMissing: [true],
  logLevel: ['warn'],
  concurrency: ['3'],
  memoryMb: ['256'],
  allowInstallScripts: [true, false],
  home: ["~/it's #1", '/srv/two words'],
  sandbox: ['required', 'off'],
  bubblewrap: ['/opt/my tools/bwrap'],
  taskNetwork: [['internet', 'db.lan:5432'], ['none'], ['a.example,b.example'], ['[2001:db8::1]:443']],
  storeQuotaMb: ['99'],
  fileQuotaMb: ['999'],
  drainMs: ['0'],
  labels: [['gpu'], ['gpu', 'two words'], ["it's", '["x"'], ['"#$ü']],
  containers: ['off', 'docker'],
  images: [['node', 'ghcr.io/acme/*']],
  pull: ['never'],
  pullTimeoutMs: ['5000'],
  imageQuotaMb: ['0'],
  containerLogMb: ['64'],
  trustedImages: ['dory-core', 'ghcr.io/acme/*'],
  containerMemoryMb: ['64'],
  containerCpus: ['0.5'],
  containerPids: ['100'],
  containerDiskMb: ['7'],
  containerNetwork: [['none'], ['internet', 'x.lan']],
  containersUnfiltered: [true, false],
  openfnUrl: ['ws://localhost:8888/worker', 'mock'],
  openfnSecret: ['a\'b"c #$', ' x '],
  openfnPublicKey: ['LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0='],
  openfnName: ODDER,
  openfnCapacity: ['4'],
  openfnWorkloops: ['manual>*:2 *:3'],
  openfnBackoff: ['2/20'],
  openfnBatchLogs: [true],
  openfnBatchMs: ['20'],
  openfnBatchLines: ['30'],
  openfnMessageSeconds: ['40'],
  openfnClaimSeconds: ['50'],
  openfnPayloadMb: ['1.5'],
  openfnLogPayloadMb: ['0.5'],
  openfnFinalState: [false],
  openfnCollectionsUrl: ['https://lightning.example/collections?a=b#c'],
  openfnCollectionsVersion: ['0.8.3'],
  openfnPort: ['2222'],
  openfnRepo: ['/srv/two words'],
  openfnMonorepo: ['/srv/adaptors'],
  openfnAdaptors: [['@openfn/*', '@acme/x']],
  openfnInstall: [false],
  openfnMemoryMb: ['300'],
  openfnRunSeconds: ['60'],
  openfnStatePropsToRemove: [['configuration', 'two words']],
  trackers: [['ws://a:1', 'wss://b']],
  ice: [['none'], ['stun:a:3478', 'turn:user:pa$s#w\'"ord@b:3478?transport=tcp']],
  crawlContainers: ['2'],
  doryApi: ['https://dory.example/x'],
  doryKey: ['dwk_\'"`#$x'],
  doryRedis: ['redis://:p%23a@host:6379/1'],
  doryRedisHost: ['cache.example'],
  doryRedisPort: ['6380'],
  doryRedisPassword: ['a\'b"c #$', ' x '],
  doryCrawlerRedis: ['rediss://host:6379'],
  doryQueue: ['my queue'],
  doryWorkerId: ['attic-1'],
  doryMaxRuns: ['5'],
  doryContainers: ['6'],
  doryImage: ['ghcr.io/acme/crawler:1'],
  doryConfigSource: ['local'],
  queueXecToken: ['a\'b"c #$', ' x '],
  queueXecKey: [`'"\`#$ ${'k'.repeat(26)}`],
  queueXecPeers: [['10.0.0.1:80', '[::1]:81']],
  queueXecListen: ['0.0.0.0:0'],
  queueXecLsd: [false],
  queueXecDht: [['no'], ['router.example:6881', 'other.example:6881']],
  worqrUrl: ['redis://user:p%40ss@host:6379'],
  worqrTasks: [['mails=/home/me/my tasks, old', 'b=./x']],
  worqrPrefix: ['a\'b"c #$', ' x '],
  worqrAttempts: ['9'],
  crewUrl: ['http://localhost:3000/?a=b#c'],
  crewTasks: [['default=./task'], ['a=/two words/x', 'b=/y,z']],
  crewAuthorization: ['Bearer a\'b"c`d#e'],
  crewEndpoint: ['127.0.0.1:4000'],
  crewEndpointToken: ['\'"`\n'],
};

/** Formats a value as typed: values that begin with a hyphen or contain special characters go after `=`. */
function typed(key: OptionName, value: string | boolean | readonly string[]): string[] {
  const flag = longFlag(optionSpec(key));
  if (typeof value === 'boolean') return [value ? flag : flag.replace('--', '--no-')];
  return [value].flat().map((one) => `${flag}=${one}`);
}

const setUps = [['setup'], ['worker', '--setup'], ['configure']] as const;

t.test('all four commands take the same options', async (t) => {
  const of = (name: Parameters<typeof optionsOf>[0]) => optionsOf(name).map((key) => longFlag(optionSpec(key)));
  t.same(Object.keys(samples).sort(), [...optionsOf('worker')].sort());
  for (const name of ['setup', 'configure', 'worker'] as const) {
    t.same(of(name), of('worker'), name);
    const known = commandWithOptions(name, '').options.map(({ long }) => long);
    for (const flag of of('worker')) t.ok(known.includes(flag), `${name} ${flag}`);
  }
  for (const key of optionsOf('worker')) t.ok(optionSpec(key).env, `${key} can be kept`);
});

t.test('what is given to set-up is what the next start finds, for every option, value and command', async (t) => {
  // Skips the search for a sandbox, and ignores this machine's own environment.
  const clean = Object.keys(process.env).filter((name) => optionsOf('worker').some((key) => optionSpec(key).env === name));
  for (const name of clean) delete process.env[name];
  process.env['PEERWORK_BUBBLEWRAP'] = '/nowhere/bwrap';
  t.teardown(() => delete process.env['PEERWORK_BUBBLEWRAP']);
  const silent = silence();
  t.teardown(silent);
  const folder = t.testdir();
  const wrong: string[] = [];
  let files = 0;
  for (const key of optionsOf('worker')) {
    for (const value of samples[key] ?? []) {
      const flags = { [key]: Array.isArray(value) || typeof value === 'boolean' ? value : optionSpec(key).many ? [String(value)] : value };
      const wanted = resolveOptions('worker', { flags })[key];
      for (const command of setUps) {
        files += 1;
        const file = join(folder, `${files}.env`);
        // A dory-api requires a key or a login.
        const besides = [...(key === 'token' ? [] : ['--token', token]), ...(key === 'doryApi' ? ['--dory-key', 'dwk_x'] : [])];
        const code = await main([...command, '--dotenv', file, ...besides, ...typed(key, value)]);
        const found = code === 0 ? resolveOptions('worker', { dotenv: await readDotenv(file) })[key] : `exit ${code}`;
        if (JSON.stringify(found) !== JSON.stringify(wanted))
          wrong.push(`${command.join(' ')} ${key} ${JSON.stringify(value)}: ${JSON.stringify(found)}`);
      }
    }
  }
  silent();
  t.same(wrong, []);
  t.ok(files > 200);
});

t.test('what cannot be kept is refused by all of them, with its name and the reason, and nothing is written', async (t) => {
  const owner = new OwnersFolder({ env: { PEERWORK_BUBBLEWRAP: '/nowhere/bwrap' } });
  t.teardown(() => owner.close());
  for (const command of setUps) {
    for (const [args, expected] of [
      [['--name', ''], /--name is ""/],
      [['--label', 'isolation=bwrap'], /--label is/],
      [['--containers', 'lxc'], /--containers is "lxc"/],
      [['--lease-ms', '1000'], /unknown option '--lease-ms'/],
      [['--name', token], /--name holds a token/],
    ] as const) {
      const answer = await owner.type(...command, '--token', token, ...args);
      t.match(answer, { code: 2, stderr: expected }, [...command, ...args].join(' '));
      t.notOk(answer.stderr.includes(token.slice(10, 40)));
    }
    t.notOk(existsSync(owner.file('.env')));
  }
});

t.test('what set-up wrote acts at the next start', async (t) => {
  const owner = new OwnersFolder({ env: { PEERWORK_BUBBLEWRAP: '/nowhere/bwrap' } });
  t.teardown(() => owner.close());
  const given = ['--name', 'my # attic', '--concurrency', '3', '--containers', 'off', '--home', 'my home', '--task-network', 'none'];
  t.match(await owner.type('worker', '--setup', '--token', token, ...given), { code: 0 });
  t.match(readFileSync(owner.file('.env'), 'utf8'), /^PEERWORK_CONTAINERS=off$/m);
  const working = owner.begin('worker');
  let text = '';
  for (const stream of [working.stdout, working.stderr])
    stream?.on('data', (chunk) => {
      text += String(chunk);
    });
  const ended = new Promise((resolve) => working.once('close', resolve));
  await ended;
  t.match(text, /worker starts name="my # attic" concurrency=3/);
  t.match(text, /sandbox-missing/, 'jobs that may reach nothing need a sandbox');
  await owner.type('setup', '--task-network', 'internet');
  const again = owner.begin('worker');
  let seen = '';
  again.stdout?.on('data', (chunk) => {
    seen += String(chunk);
  });
  const over = new Promise((resolve) => again.once('close', resolve));
  await until(() => seen.includes('worker starts'));
  await until(() => existsSync(owner.file('my home', 'workers', '1', 'key.json')));
  again.kill('SIGTERM');
  t.equal(await over, 0);
});

t.test('a source alone is enough, also for set-up', async (t) => {
  const owner = new OwnersFolder({ env: { PEERWORK_BUBBLEWRAP: '/nowhere/bwrap' } });
  t.teardown(() => owner.close());
  t.match(await owner.type('setup', '--name', 'x'), { code: 2, stderr: /token-missing/ });
  t.match(await owner.type('setup', '--worqr-url', 'redis://127.0.0.1:1', '--worqr-task', 'a=./b'), { code: 0 });
  t.match(readFileSync(owner.file('.env'), 'utf8'), 'PEERWORK_WORQR_TASKS=');
  t.equal(attributeOf('worqrTasks'), 'worqrTask');
});

/** Silences the commands, whose output is not part of this test. */
function silence(): () => void {
  const { stdout, stderr } = process;
  const before = [stdout.write, stderr.write] as const;
  const nothing = (text: unknown) => typeof text === 'string' || true;
  const say = /^(?:Written|Start|Next|No sandbox|Switch|Install|peerwork|The Worker)/;
  stdout.write = ((...given: Parameters<typeof stdout.write>) =>
    say.test(String(given[0])) ? nothing(given[0]) : before[0].apply(stdout, given)) as typeof stdout.write;
  stderr.write = (() => true) as typeof stderr.write;
  return () => {
    [stdout.write, stderr.write] = before;
  };
}
