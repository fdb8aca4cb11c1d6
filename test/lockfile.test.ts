import { readFileSync } from 'node:fs';
import t from 'tap';

interface LockedPackage {
  readonly version?: string;
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const read = (file: string) => JSON.parse(readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'));
const { packages } = read('package-lock.json') as { packages: Readonly<Record<string, LockedPackage>> };
const manifest = read('package.json') as { allowScripts: Record<string, boolean>; engines: { node: string } };

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
