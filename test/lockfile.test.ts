import { readFileSync } from 'node:fs';
import t from 'tap';
import { packageSets } from '../src/kit/package-sets.js';

interface LockedPackage {
  readonly version?: string;
  readonly dev?: boolean;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const read = (file: string) => JSON.parse(readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'));
const { packages } = read('package-lock.json') as { packages: Readonly<Record<string, LockedPackage>> };
const manifest = read('package.json') as {
  allowScripts: Record<string, boolean>;
  engines: { node: string };
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
  peerDependencies: Record<string, string>;
};

t.test('every optional binary is in the lockfile: without it `npm ci` refuses', async (t) => {
  const missing = Object.values(packages)
    .flatMap(({ optionalDependencies = {} }) => Object.keys(optionalDependencies))
    .filter((name) => packages[`node_modules/${name}`] === undefined);
  t.same(missing, [], 'run `node scripts/lock.mjs`');
});

t.test('no package may run an install script, and each that has one is denied by name', async (t) => {
  const withScripts = Object.entries(packages)
    .filter(([, { hasInstallScript }]) => hasInstallScript)
    .map(([path]) => path.replace(/^.*node_modules\//, ''));
  t.same(Object.keys(manifest.allowScripts).sort(), withScripts.sort());
  t.same(Object.values(manifest.allowScripts).filter(Boolean), []);
});

t.test('peerwork depends on the versions that were tested, and no others', async (t) => {
  const versions = Object.keys(manifest.dependencies).map((name) => [name, packages[`node_modules/${name}`]?.version]);
  t.same(manifest.dependencies, Object.fromEntries(versions));
});

t.test('the packages that are installed when needed are those of package-lock.json, by their hashes', async (t) => {
  const inSets = new Set<string>();
  for (const [set, facts] of Object.entries(packageSets)) {
    for (const name of facts.packages) inSets.add(name);
    const { peerwork } = read(`build/packages/${set}/package.json`) as { peerwork: { specs: readonly string[] } };
    t.same(
      peerwork.specs,
      facts.packages.map((name) => `${name}@${packages[`node_modules/${name}`]?.version}`),
      set,
    );
    const part = read(`build/packages/${set}/package-lock.json`) as { packages: Record<string, LockedPackage> };
    const entries = Object.entries(part.packages).filter(([path]) => path !== '');
    const others = entries.filter(
      ([path, { version, integrity }]) =>
        integrity === undefined || version !== packages[path]?.version || integrity !== packages[path]?.integrity,
    );
    t.same(others, [], `all that ${set} needs`);
  }
  const peers = Object.keys(manifest.peerDependencies).filter((name) => !name.startsWith('@openfn/'));
  t.same([...inSets].sort(), peers.sort(), 'each optional peer is in a set');
  t.match(manifest.devDependencies, manifest.peerDependencies, 'and tested in the range that is asked for');
});
