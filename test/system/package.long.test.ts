import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { hasNodeSqlite } from '../../src/ledger/package-of-ledger.js';
import { packageRoot } from '../lab/grid.js';
import { removeFolder } from '../lab/remove-folder.js';

const run = promisify(execFile);

/** Returns type errors in a consumer's code and in our own declarations; those of other packages do not count. */
async function compileConsumer(home: string): Promise<string[]> {
  copyFileSync(join(packageRoot, 'test/fixtures/consumer/consumer.ts'), join(home, 'consumer.ts'));
  const compilerOptions = {
    ...{ strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, skipLibCheck: false, declaration: true },
    ...{ target: 'ES2022', module: 'NodeNext', moduleResolution: 'NodeNext', outDir: 'out' },
    ...{ types: ['node'], typeRoots: [join(packageRoot, 'node_modules/@types')] },
  };
  writeFileSync(join(home, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }));
  const tsc = join(packageRoot, 'node_modules/typescript/bin/tsc');
  const { stdout } = await run(process.execPath, [tsc, '-p', home, '--pretty', 'false'], { cwd: home }).catch(
    (error: { stdout: string }) => error,
  );
  return stdout.split('\n').filter((line) => /^(consumer\.ts|node_modules\/peerwork\/)/.test(line));
}

const MOST_PACKAGES = 100;
const MOST_BYTES = 25_000_000;
const manifest = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { dependencies: Record<string, string> };

/** What npm installed: number of packages, and their disk usage in blocks of 4 KiB. */
function measured(folder: string): { readonly packages: number; readonly bytes: number } {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const sizes = entries.map((entry) => Math.ceil(statSync(join(entry.parentPath, entry.name)).size / 4_096) * 4_096);
  return { packages: versionsIn(folder).length + 1, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}

/** `name@version` of all packages except ours. */
function versionsIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => /(^|node_modules\/)(@[^/]+\/)?[^/@]+\/package\.json$/.test(file) && file !== 'peerwork/package.json')
    .map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as { name: string; version: string })
    .map(({ name, version }) => `${name}@${version}`);
}

t.test('the packed package works in an empty folder, without overrides', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-package-'));
  t.teardown(() => removeFolder(folder));
  // Already built: packing must not start another build next to running tests.
  await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: packageRoot });
  const [tarball] = readdirSync(folder);
  const home = join(folder, 'an empty one');
  mkdirSync(home);
  writeFileSync(join(home, 'package.json'), '{ "private": true, "type": "module" }\n');
  // With scripts enabled: npm must find none to mention.
  const { stdout: said, stderr } = await run('npm', ['install', '--no-audit', '--no-fund', join('..', tarball ?? '')], { cwd: home });
  t.notMatch(said + stderr, /EBADENGINE|install scripts|deprecated/, 'nothing is warned of');
  const { packages, bytes } = measured(join(home, 'node_modules'));
  t.ok(packages <= MOST_PACKAGES, `${packages} packages`);
  t.ok(bytes <= MOST_BYTES, `${Math.round(bytes / 1_000_000)} MB on the disk`);
  const installed = versionsIn(join(home, 'node_modules'));
  const direct = Object.entries(manifest.dependencies).map(([name, version]) => `${name}@${version}`);
  t.same(
    direct.filter((line) => !installed.includes(line)),
    [],
    'what it depends on is installed in the version that was tested',
  );

  const { stdout } = await run('npx', ['--no-install', 'peerwork', '--help'], { cwd: home });
  t.match(stdout, /Usage: peerwork/);

  t.same(await compileConsumer(home), [], 'a strict consumer compiles');

  writeFileSync(
    join(home, 'wires.js'),
    `import * as peerwork from 'peerwork';
     for (const name of ['crew', 'dory', 'openfn', 'queue-xec', 'worqr']) {
       const values = Object.entries(await import('peerwork/wires/' + name));
       console.log(name, values.map(([value]) => value).join(' '), values.every(([value, own]) => peerwork[value] === own));
     }`,
  );
  const wires = await run(process.execPath, ['wires.js'], { cwd: home });
  t.same(wires.stdout.trim().split('\n'), [
    'crew crewServer crewSource true',
    'dory dorySource true',
    'openfn openfnRunner openfnSource true',
    'queue-xec queueXecServer queueXecSource true',
    'worqr WorqrProducer worqrSource true',
  ]);

  mkdirSync(join(home, 'task'));
  writeFileSync(join(home, 'task', 'task.mjs'), 'export default (data) => data + 1;\n');
  writeFileSync(
    join(home, 'embedded.js'),
    `import { Master, Worker } from 'peerwork';
     const master = new Master({ task: 'task', ledger: 'memory:', trackers: [process.argv[2]] });
     const worker = new Worker(master.token);
     for await (const { output } of master.map([41])) console.log('output', output);
     await worker.close();
     await master.close();`,
  );
  // stdin is a pipe: nobody can be asked.
  const command = (args: readonly string[]) => run(process.execPath, args, { cwd: home, env: { ...process.env, HOME: folder } });
  const missing = [
    { args: ['node_modules/peerwork/bin/peerwork.js', 'tracker', '--host', '127.0.0.1', '--port', '0'], name: 'bittorrent-tracker' },
  ];
  if (!hasNodeSqlite()) missing.push({ args: ['embedded.js', 'ws://127.0.0.1:9'], name: 'libsql' });
  for (const { args, name } of missing) {
    const refused = await command(args).catch((error: { stderr: string }) => error);
    t.match(refused.stderr, 'package-missing', `without ${name}`);
    const [, pasted = ''] = /The command: (npm install --prefix .* (?:\S+@\d+\.\d+\.\d+))/.exec(refused.stderr) ?? [];
    t.ok(pasted.includes(` ${name}@`), pasted);
    await run('sh', ['-c', pasted], { cwd: folder });
  }
  const firstLineOfTracker = async (...args: readonly string[]) => {
    const started = execFile(process.execPath, [...(missing[0]?.args ?? []), ...args], {
      cwd: home,
      env: { ...process.env, HOME: folder },
    });
    const [line] = (await once(started.stdout ?? started, 'data')) as [string];
    started.kill('SIGINT');
    await once(started, 'exit');
    return line;
  };
  t.match(await firstLineOfTracker(), /^ws:/, 'with it the tracker starts');

  rmSync(join(home, 'node_modules', 'bittorrent-tracker'), { recursive: true });
  const offline = { npm_config_registry: 'http://127.0.0.1:9', npm_config_cache: join(folder, 'cache') };
  const unreached = await run(process.execPath, [...(missing[0]?.args ?? []), '--install-missing'], {
    cwd: home,
    env: { ...process.env, ...offline },
  }).catch((error: { stderr: string }) => error);
  t.match(unreached.stderr, 'registry-unreachable');
  t.match(await firstLineOfTracker('--install-missing'), /^ws:/, 'installed unasked');
  const ours = readdirSync(join(home, 'node_modules', '.peerwork-packages'));
  t.match(ours, [/^bittorrent-tracker@\d+\.\d+\.\d+-[0-9a-f]{8}-/], 'nothing unfinished is left');
  t.equal(ours.length, 1);
  t.match(await firstLineOfTracker(), /^ws:/, 'and found again');

  const { TrackerServer } = await import('../../src/swarm/tracker-server.node.js');
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const embedded = await run(process.execPath, ['embedded.js', tracker.url], { cwd: home, timeout: 240_000 });
  t.match(embedded.stdout, /output 42/);
});
