import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { execa } from 'execa';
import t from 'tap';
import { presetOf, resolveOptions } from '../../../../src/cli/options.js';
import { version } from '../../../../src/version.js';
import { dory } from '../../../../src/wires/dory/wire.js';
import { packageRoot } from '../../../lab/grid.js';
import { OwnersFolder } from '../../../lab/service.js';

const script = join(packageRoot, 'bin', 'dory-worker.js');
const api = 'http://127.0.0.1:1';
const apiKey = 'dwk_a-key-for-tests';

t.test('dory-worker and `peerwork dory` are one command, with the commands of dory-worker', async (t) => {
  const [named, behind] = [new OwnersFolder({ script }), new OwnersFolder()];
  t.teardown(async () => {
    await named.close();
    await behind.close();
  });
  const help = (await named.type('--help')).stdout;
  t.equal((await behind.type('dory', '--help')).stdout, help);
  const { bin } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { bin: Record<string, string> };
  t.equal(bin['dory-worker'], 'bin/dory-worker.js');
  for (const name of [
    ...['login', 'logout', 'whoami', 'setup', 'configure', 'start', 'start-bg', 'status', 'logs', 'health', 'update'],
    ...['restart', 'stop', 'uninstall'],
  ])
    t.match(help, new RegExp(`^  ${name} `, 'm'));
  t.match(await named.type('--version'), { code: 0, stdout: `${version}\n` });
  t.match(await named.type('nonsense'), { code: 2, stderr: /unknown command 'nonsense'/ });
  t.match((await behind.type('--help')).stdout, /^ {2}dory +All of dory-worker/m);
});

t.test('without a key nothing is set up, configured or started, and nothing is written', async (t) => {
  for (const args of [[], ['--log-level', 'debug'], ['setup'], ['configure', '--dory-max-runs', '3'], ['start'], ['start-bg']]) {
    const owner = new OwnersFolder({ script });
    t.teardown(() => owner.close());
    t.match(await owner.type(...args), { code: 3, stderr: /\[dory-key-missing\]/ }, args.join(' '));
    t.notOk(existsSync(owner.file('.env')), args.join(' '));
  }
});

t.test('a service has the name that units and scripts know', async (t) => {
  const owner = new OwnersFolder({ script });
  t.teardown(() => owner.close());
  for (const command of ['status', 'restart', 'stop', 'uninstall'])
    t.match(await owner.type(command), { code: 3, stderr: /called dory-worker\. [\s\S]*\[service-missing\]/ }, command);
  t.match(await owner.type('logs'), { code: 3, stderr: /\[service-missing\]/ });
  t.match(await owner.type('status', '--service-name', 'attic'), { code: 3, stderr: /called attic/ });
  writeFileSync(owner.file('.env'), 'PEERWORK_SERVICE_NAME=of-env\n');
  t.match(await owner.type('status'), { code: 3, stderr: /called of-env/ });
});

t.test('start-bg that refuses leaves .env as it was', async (t) => {
  const required = ['--dory-api', api, '--dory-key', apiKey];
  const elsewhere = { apiBaseUrl: 'http://other', apiKey };
  const refusals: [string, string[], number, RegExp][] = [
    ['nobody to work for', [], 3, /dory-key-missing/],
    ['no key', ['--dory-api', api], 3, /dory-key-missing/],
    ['a bad value', [...required, '--dory-max-runs', 'many'], 2, /option-invalid/],
    ['a keeper that is not here', [...required, '--keeper', 'launchd'], 2, /keeper-missing/],
    ['a key of another API', ['--dory-api', api], 2, /dory-key-elsewhere/],
    ['a service of another folder', required, 2, /service-taken/],
  ];
  for (const before of [undefined, '# mine\nMAX_CONCURRENT_RUNS=3\n'])
    for (const [what, args, code, message] of refusals) {
      const owner = new OwnersFolder({ script });
      t.teardown(() => owner.close());
      if (before !== undefined) writeFileSync(owner.file('.env'), before);
      if (what.startsWith('a key of')) {
        mkdirSync(owner.file('.dory'));
        writeFileSync(owner.file('.dory', 'credentials'), JSON.stringify(elsewhere));
      }
      if (what.startsWith('a service')) {
        const folder = owner.file('.peerwork', 'services', 'dory-worker');
        mkdirSync(folder, { recursive: true });
        const record = {
          name: 'dory-worker',
          keeper: 'background',
          home: owner.file('.peerwork'),
          folder: '/elsewhere',
          dotenv: '/elsewhere/.env',
        };
        writeFileSync(join(folder, 'service.json'), JSON.stringify({ ...record, drainMs: 1, env: {}, installedAt: 1 }));
      }
      t.match(await owner.type('start-bg', ...args), { code, stderr: message }, what);
      t.equal(existsSync(owner.file('.env')) ? readFileSync(owner.file('.env'), 'utf8') : undefined, before, what);
    }
});

t.test('MAX_CONCURRENT_RUNS holds on a machine with fewer cores', async (t) => {
  const places = (env: Record<string, string>) => dory.places?.(resolveOptions('worker', { env }));
  t.ok((places({}) ?? 0) >= 100);
  t.equal(places({ MAX_CONCURRENT_RUNS: '500' }), 500);
});

t.test('a unit without a working directory keeps its files in the home of its user', async (t) => {
  const called = (name: string) => presetOf({ parent: { name: () => name } } as unknown as Command);
  const before = process.cwd();
  process.chdir('/');
  t.teardown(() => process.chdir(before));
  t.match(called('dory-worker'), { home: join(homedir(), '.peerwork'), serviceName: 'dory-worker' });
  t.same(called('peerwork'), {});
  process.chdir(before);
  t.same(called('dory-worker'), { serviceName: 'dory-worker' });
});

t.test('health fails without a container engine: a run is nothing else', async (t) => {
  const env = { PATH: '/nowhere', API_BASE_URL: api, WORKER_API_KEY: apiKey };
  const owner = new OwnersFolder({ script, env });
  t.teardown(() => owner.close());
  t.match(await owner.type('health', '--timeout', '5'), { code: 1, stdout: /^fail +containers +.*docker is not installed/m });
});

t.test('a unit that starts it by its name works: npm links it, and systemd gives it .env as its environment', async (t) => {
  const owner = new OwnersFolder({ script });
  t.teardown(() => owner.close());
  mkdirSync(owner.file('bin'));
  symlinkSync(script, owner.file('bin', 'dory-worker'));
  const env = { PATH: `${owner.file('bin')}:${process.env['PATH']}`, HOME: owner.path, API_BASE_URL: api };
  const { exitCode, stderr } = await execa('dory-worker', [], { cwd: owner.path, env, extendEnv: false, reject: false });
  t.equal(exitCode, 3);
  t.match(stderr, /dory-key-missing/);
});
