import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { packageRoot } from '../lab/grid.js';

const run = promisify(execFile);

/** The errors in what a program writes, and in our own declarations; those of other packages are theirs. */
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

t.test('the packed package works in an empty folder, without overrides', { timeout: 240_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-package-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  // The build is there already: packing must not start another beside the running tests.
  await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: packageRoot });
  const [tarball] = readdirSync(folder);
  const home = join(folder, 'empty');
  mkdirSync(home);
  writeFileSync(join(home, 'package.json'), '{ "private": true, "type": "module" }\n');
  await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', join('..', tarball ?? '')], { cwd: home });

  const { stdout } = await run('npx', ['--no-install', 'peerwork', '--help'], { cwd: home });
  t.match(stdout, /Usage: peerwork/);

  t.same(await compileConsumer(home), [], 'a strict consumer compiles');

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
  const { TrackerServer } = await import('../../src/swarm/tracker-server.node.js');
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const embedded = await run(process.execPath, ['embedded.js', tracker.url], { cwd: home, timeout: 60_000 });
  t.match(embedded.stdout, /output 42/);
});
