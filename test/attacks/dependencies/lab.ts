/**
 * Runs in a network namespace of its own, where loopback has addresses of a LAN: a registry, canaries, npm's own library, and the whole way of a layer.
 * Prints what happened as one line of JSON.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PeerworkError } from '../../../src/errors.js';
import { textHash } from '../../../src/task/canonical-json.js';
import { type InstallPlan, planInstall } from '../../../src/task/install-plan.js';
import { DependencyLayers } from '../../../src/task/layers.js';
import { dependencyFields } from '../../../src/task/package-fields.js';
import { seededRandom } from '../../lab/seeded-random.js';
import { makeBases, publishAll } from './bases.js';
import { type Canaries, SECRET, setCanaries } from './canary.js';
import { type Hostile, hostileDocuments } from './hostile-documents.js';
import { filesBelow, findArborist, PlainNpm } from './plain-npm.js';
import { SmallRegistry } from './small-registry.js';

export interface LabReport {
  readonly documents: number;
  readonly refused: number;
  /** Different trees that the check let through, all given to npm. */
  readonly trees: number;
  readonly installed: number;
  readonly layers: number;
  /** What should not be: empty. */
  readonly wrong: readonly string[];
  /** Codes of refusals. */
  readonly codes: Readonly<Record<string, number>>;
  /** Which canaries plain npm ran into, without the check. */
  readonly tripped: readonly string[];
}

const [folder = '', seed = '1', count = '20000', layerCount = '24', sandbox = 'required', ...hosts] = process.argv.slice(2);

const registry = await SmallRegistry.start();
const canaries = await setCanaries(folder, hosts);
publishAll(registry, { folder: canaries.folder, address: canaries.addresses[1] ?? '' });
const bases = makeBases(registry);
const Arborist = findArborist();
if (Arborist === undefined) throw new Error('npm is not installed in the usual way');
const npm = new PlainNpm(Arborist, join(folder, 'npm'), registry.url);

const wrong: string[] = [];
const codes: Record<string, number> = {};
const trees = new Map<string, { readonly plan: InstallPlan; readonly from: Hostile }>();
let documents = 0;
let refused = 0;
for (const hostile of hostileDocuments(bases, canaries, seededRandom(Number(seed)), Number(count))) {
  documents += 1;
  try {
    // As a Master publishes it, and as a Worker takes it from a Master that did not check.
    dependencyFields(hostile.packageJson);
    const plan = planInstall(hostile.packageJson, hostile.lock);
    trees.set(textHash(plan.packageJson + plan.lock), { plan, from: hostile });
  } catch (error) {
    refused += 1;
    const code = error instanceof PeerworkError ? error.code : `${error}`;
    codes[code] = (codes[code] ?? 0) + 1;
  }
}

let installed = 0;
for (const { plan, from } of trees.values()) {
  const { path, fault, done } = await npm.install(plan.packageJson, plan.lock);
  if (fault === undefined) installed += 1;
  wrong.push(...faultsOf(join(path, 'node_modules'), plan, canaries).map((each) => `${from.name}: ${each}`));
  if (canaries.touched.size > 0) wrong.push(`${from.name}: npm reached ${[...canaries.touched].join()}`);
  canaries.touched.clear();
  await done();
}

let layers = 0;
process.env['npm_config_registry'] = registry.url;
const store = new DependencyLayers({ folder: join(folder, 'layers'), npm: { sandbox: sandbox === 'off' ? 'off' : 'required' } });
const sample = [...trees.values()].filter((_, index) => index % Math.ceil(trees.size / Number(layerCount)) === 0);
const makeLayers = async () => {
  for (let next = sample.pop(); next !== undefined; next = sample.pop()) {
    const { packageJson, lock, name } = next.from;
    try {
      const layer = await store.ensure({ packageJson, lockSha256: textHash(packageJson + lock), lock: async () => lock });
      layers += 1;
      wrong.push(...faultsOf(layer.nodeModules, next.plan, canaries).map((each) => `layer of ${name}: ${each}`));
    } catch (error) {
      // Some name what no registry has.
      if (!(error instanceof PeerworkError) || error.code !== 'dependencies-failed') wrong.push(`layer of ${name}: ${error}`);
    }
  }
};
await Promise.all([makeLayers(), makeLayers()]);
if (canaries.touched.size > 0) wrong.push(`a layer reached ${[...canaries.touched].join()}`);

const tripped = await tripCanaries();
const report: LabReport = { documents, refused, trees: trees.size, installed, layers, wrong: wrong.slice(0, 20), codes, tripped };
console.log(JSON.stringify(report));
canaries.close();
registry.close();

/** Every file must be one that the registry has served for a package of the plan, and at its place. */
function faultsOf(modules: string, { packages }: InstallPlan, { folder: secretFolder }: Canaries): string[] {
  const allowed = new Map<string, string>();
  for (const { place, name, version, integrity } of packages) {
    const published = registry.find(name, version);
    if (published === undefined || (integrity !== published.integrity && !integrity.startsWith('sha1-'))) continue;
    for (const [path, text] of Object.entries(published.files)) allowed.set(`${place.slice('node_modules/'.length)}/${path}`, text);
  }
  return filesBelow(modules).flatMap(({ path, link }) => {
    if (path === '.package-lock.json') return [];
    if (link) return [`${path} is a link`];
    const text = readFileSync(join(modules, path), 'utf8');
    if (text.includes(SECRET) || text.includes(secretFolder) !== (allowed.get(path) ?? '').includes(secretFolder))
      return [`${path} holds a canary`];
    return allowed.get(path) === text ? [] : [`${path} is not from the registry`];
  });
}

/** The same npm without the check: were it not to run into the canaries, this lab would prove nothing. */
async function tripCanaries(): Promise<string[]> {
  const [loopback = '', lan = ''] = canaries.addresses;
  const attempts: Record<string, { readonly entry: object; readonly root?: object }> = {
    folder: { entry: { version: `file:${canaries.folder}`, integrity: '' } },
    'folder by link': { entry: { resolved: `file:${canaries.folder}`, link: true } },
    archive: { entry: { version: '1.0.0', resolved: `file:${canaries.archive}` } },
    loopback: { entry: { version: '1.0.0', resolved: loopback } },
    'loopback in version': { entry: { version: loopback, integrity: 'none' } },
    LAN: { entry: { version: '1.0.0', resolved: lan } },
    'LAN by a missing peer': { entry: { version: '2.1.3', peerDependencies: { x: lan } } },
    'LAN by what a missing package wants': { entry: { version: '2.1.3', dependencies: { 'wants-lan': '1.0.0' } } },
    'LAN by an override': { entry: { version: '2.1.3', dependencies: { x: '1' } }, root: { overrides: { x: lan } } },
    ...(canaries.repository !== undefined && {
      repository: { entry: { version: '1.0.0', resolved: `git+file://${canaries.repository}` } },
    }),
  };
  const tripped: string[] = [];
  for (const [name, { entry, root = {} }] of Object.entries(attempts)) {
    const fields = { name: 'task', dependencies: { ms: '*' }, ...root };
    const lock = { name: 'task', lockfileVersion: 3, requires: true, packages: { '': fields, 'node_modules/ms': entry } };
    const { path, done } = await npm.install(JSON.stringify(fields), JSON.stringify(lock));
    const inside = filesBelow(join(path, 'node_modules')).some(
      ({ path: each, link }) => link || readFileSync(join(path, 'node_modules', each), 'utf8').includes(SECRET),
    );
    if (inside || canaries.touched.size > 0) tripped.push(name);
    canaries.touched.clear();
    await done();
  }
  return tripped;
}
