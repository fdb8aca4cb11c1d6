import { readdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Outcome } from '../../src/job/job.js';
import type { Lease } from '../../src/job/source.js';
import { silentLog } from '../../src/log.js';
import type { SourceSetup } from '../../src/sources/setup.js';
import { Worker } from '../../src/worker/worker.js';
import { SmallRegistry } from '../attacks/dependencies/small-registry.js';
import { requireTools } from '../lab/require.js';
import { blobOf, liar, manifestOf, serve, writeTree } from '../task/fixtures.js';
import { home } from '../task/home.js';

/** Reports where its package is located and what is there. */
const TASK = `import { readdirSync, readFileSync, realpathSync } from 'node:fs';
export default async () => {
  const root = realpathSync(new URL('node_modules/ms', import.meta.url));
  const env = readdirSync(root).includes('.env') ? readFileSync(root + '/.env', 'utf8') : null;
  return { root, files: readdirSync(root).sort(), env };
};
`;
const SECRET = 'KEY=of-the-owner';

/** A Master that publishes whatever it likes: one job of a task with this lockfile. */
function hostileMaster(dependencies: object, lock: string): { readonly setup: SourceSetup; readonly outcome: Promise<Outcome> } {
  const packageJson = JSON.stringify({ dependencies });
  const manifest = manifestOf({ 'task.mjs': TASK }, { entry: 'task.mjs', dependencies: { packageJson, lock: blobOf(Buffer.from(lock)) } });
  const { origin } = liar(manifest, serve([TASK, lock]));
  let tell: (outcome: Outcome) => void = () => {};
  const outcome = new Promise<Outcome>((resolve) => {
    tell = resolve;
  });
  const lease: Lease = {
    job: { id: 'a', channel: 'default', data: null, attempt: 1 } as Lease['job'],
    task: origin,
    runner: 'task-module',
    signal: new AbortController().signal,
    report: () => {},
    settle: async (settled) => tell(settled),
  };
  let leases = [lease];
  const open: SourceSetup['open'] = async () => ({
    name: 'hostile',
    claim: async (_capacity, signal) => {
      const [next] = leases;
      leases = [];
      if (next !== undefined) return [next];
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      return [];
    },
    flush: async () => {},
    close: async () => {},
  });
  return { setup: { name: 'hostile', open }, outcome };
}

async function work(t: Test, folder: string, dependencies: object, lock: object): Promise<Outcome> {
  const { setup, outcome } = hostileMaster(dependencies, JSON.stringify(lock));
  const worker = new Worker({ sources: [setup], home: join(folder, 'worker'), sandbox: 'required', concurrency: 1, log: silentLog });
  t.teardown(() => worker.close());
  await worker.ready;
  const settled = await outcome;
  await worker.close();
  return settled;
}

t.test('a lockfile that would lead npm into the folders of the owner ends the job, in the strictest setting too', async (t) => {
  if (!requireTools(t, { bwrap: 'bubblewrap' })) return;
  const folder = await home(t);
  const app = join(folder, 'owner', 'app');
  await writeTree(app, { 'package.json': '{"name":"ms","version":"1.0.0"}', '.env': SECRET });
  const registry = await SmallRegistry.start();
  t.teardown(() => registry.close());
  const before = process.env['npm_config_registry'];
  process.env['npm_config_registry'] = registry.url;
  t.teardown(() => {
    if (before === undefined) delete process.env['npm_config_registry'];
    else process.env['npm_config_registry'] = before;
  });
  const { version, integrity } = registry.publish('ms', '1.0.0');
  const lockOf = (entry: object, more: object = {}) => ({
    name: 'reads-a-folder',
    lockfileVersion: 3,
    requires: true,
    packages: { '': { name: 'reads-a-folder', dependencies: { ms: '*' } }, 'node_modules/ms': entry, ...more },
  });

  const hostile: Record<string, object> = {
    'a folder for a version': lockOf({ version: `file:${app}`, integrity: '' }),
    'a folder for a version, with a digest': lockOf({ version: `file:${app}`, integrity }),
    'a link': lockOf({ resolved: app, link: true }, { [app]: { version } }),
    'a folder by a peer': lockOf({ version, integrity, peerDependencies: { x: `file:${app}` } }),
    'no digest': lockOf({ version, integrity: 'none' }),
  };
  for (const [name, lock] of Object.entries(hostile)) {
    const outcome = await work(t, folder, { ms: '*' }, lock);
    t.match(outcome, { state: 'failed', error: { code: 'dependencies-refused' } }, name);
    t.notMatch(JSON.stringify(outcome), SECRET);
  }
  t.match(
    await work(t, folder, { ms: `file:${app}` }, lockOf({ version, integrity })),
    { error: { code: 'dependencies-refused' } },
    'in package.json',
  );

  const good = await work(t, folder, { ms: '*' }, lockOf({ version, integrity }));
  t.match(good, { state: 'completed', output: { files: ['index.js', 'package.json'], env: null } }, 'and a good one does its job');
  const layers = readdirSync(join(folder, 'worker', 'store', 'layers')).filter((name) => /^[0-9a-f]{64}$/.test(name));
  t.equal(layers.length, 1, 'of the others no layer is left');
  t.ok(realpathSync(join(folder, 'worker', 'store', 'layers', layers[0] ?? '', 'node_modules', 'ms')).startsWith(folder));
});
