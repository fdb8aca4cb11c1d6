import { readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import t from 'tap';
import { type InstallPlan, planInstall } from '../../src/task/install-plan.js';
import { dependencyFields } from '../../src/task/package-fields.js';
import { fits, isExactVersion, isPackageName, readSpec } from '../../src/task/registry-spec.js';
import { findTool } from '../lab/require.js';

const DIGEST = `sha512-${Buffer.alloc(64, 1).toString('base64')}`;
const SHA1 = `sha1-${Buffer.alloc(20, 1).toString('base64')}`;
const good = { version: '1.0.0', integrity: DIGEST, resolved: 'https://elsewhere/ms.tgz' };
const wantsMs = { dependencies: { ms: '^1.0.0' } };

function plan(packages: object, fields: object = wantsMs, scripts = false): InstallPlan {
  return planInstall(JSON.stringify(fields), JSON.stringify({ lockfileVersion: 3, packages: { '': fields, ...packages } }), scripts);
}

const entries = ({ lock }: InstallPlan) => {
  const { packages } = JSON.parse(lock) as { packages: Record<string, Record<string, unknown>> };
  return packages;
};
const refused = { code: 'dependencies-refused' };

t.test('nothing of an entry reaches npm but what is rebuilt', async (t) => {
  const more = {
    license: 'MIT',
    funding: {},
    hasShrinkwrap: true,
    scripts: { install: 'x' },
    extraneous: true,
    gypfile: true,
    _resolved: 'file:x',
  };
  const { packageJson, lock, packages } = plan({ 'node_modules/ms': { ...good, ...more, bin: 'cli.js', hasInstallScript: true } });
  t.same(JSON.parse(packageJson), { name: 'task', private: true, dependencies: { ms: '1.0.0' } }, 'no ranges');
  t.same(JSON.parse(lock), {
    name: 'task',
    lockfileVersion: 3,
    requires: true,
    packages: { '': { name: 'task', dependencies: { ms: '1.0.0' } }, 'node_modules/ms': { version: '1.0.0', integrity: DIGEST } },
  });
  t.same(packages, [{ place: 'node_modules/ms', name: 'ms', version: '1.0.0', integrity: DIGEST }]);
  const scripted = plan({ 'node_modules/ms': { ...good, bin: { ms: './cli.js' }, hasInstallScript: true } }, wantsMs, true);
  t.match(entries(scripted)['node_modules/ms'], { bin: { ms: './cli.js' }, hasInstallScript: true }, 'with scripts, these too');
  t.match(JSON.parse(scripted.packageJson), { allowScripts: { ms: true } });
});

t.test('a closed tree: what leads to it by exact version, and nothing else', async (t) => {
  const tree = plan(
    {
      'node_modules/left': { ...good, dependencies: { ms: '^2.0.0', gone: '1' }, optionalDependencies: { gone: '1' } },
      'node_modules/left/node_modules/ms': { ...good, version: '2.1.0', dev: false },
      'node_modules/ms': good,
      'node_modules/nobody': good,
      'node_modules/tool': { dev: true, link: true, resolved: '../tool' },
    },
    { dependencies: { left: '*', ms: 'latest' }, devDependencies: { tool: 'file:../tool' } },
  );
  t.same(Object.keys(entries(tree)), ['', 'node_modules/left', 'node_modules/ms', 'node_modules/left/node_modules/ms']);
  t.same(entries(tree)['']?.['dependencies'], { left: '1.0.0', ms: '1.0.0' }, 'a tag is as good as any version');
  t.same(entries(tree)['node_modules/left']?.['dependencies'], { ms: '2.1.0' }, 'of its own folder first');
});

t.test('aliases, peers, optional packages for other platforms, bundles, overrides', async (t) => {
  const alias = plan({ 'node_modules/one': { ...good, name: '@corp/ms' } }, { dependencies: { one: 'npm:@corp/ms@^1.0.0' } });
  t.same(entries(alias)['']?.['dependencies'], { one: 'npm:@corp/ms@1.0.0' });
  t.match(entries(alias)['node_modules/one'], { name: '@corp/ms', version: '1.0.0' });

  const peers = plan(
    {
      'node_modules/host': { ...good, peerDependencies: { ms: '9', gone: '1' }, peerDependenciesMeta: { gone: { optional: true } } },
      'node_modules/ms': { ...good, peer: true },
    },
    { dependencies: { host: '1' } },
  );
  t.same(entries(peers)['node_modules/host']?.['dependencies'], { ms: '1.0.0' }, 'a peer may be of another version: --legacy-peer-deps');

  const platforms = plan(
    {
      'node_modules/ms': { ...good, optionalDependencies: { mars: '1', moon: '1' } },
      'node_modules/mars': {
        ...good,
        os: ['mars'],
        cpu: ['x64', '!arm'],
        libc: 'musl',
        engines: { node: '>=4', vscode: 'x' },
        dependencies: { deep: '1' },
      },
      'node_modules/deep': good,
    },
    wantsMs,
  );
  const mars = entries(platforms)['node_modules/mars'];
  t.same(mars?.['os'], ['mars']);
  t.same(mars?.['libc'], ['musl']);
  t.same(mars?.['engines'], { node: '>=4' });
  t.same([mars?.['optional'], entries(platforms)['node_modules/deep']?.['optional']], [true, true], 'with all that only they need');
  t.same(entries(platforms)['node_modules/ms']?.['optionalDependencies'], { mars: '1.0.0' }, 'one that npm has left out is left out');

  const bundle = plan(
    {
      'node_modules/ms': { ...good, dependencies: { inner: '1' }, bundleDependencies: ['inner'] },
      'node_modules/ms/node_modules/inner': { version: '1.0.0', inBundle: true, dependencies: { outer: '1' } },
      'node_modules/outer': good,
    },
    wantsMs,
  );
  t.same(Object.keys(entries(bundle)), ['', 'node_modules/ms', 'node_modules/outer'], 'what is bundled is in the tarball of its package');
  t.same(entries(bundle)['node_modules/ms']?.['dependencies'], { outer: '1.0.0' }, 'and what it wants from outside stays wanted');

  const overridden = { ...wantsMs, overrides: { 'left@1': { '.': '1', deep: { ms: 'npm:other@2' } } } };
  const overrides = plan(
    { 'node_modules/ms': { ...good, dependencies: { deep: '^7.0.0' } }, 'node_modules/deep': { ...good, name: 'other', version: '2.0.0' } },
    overridden,
  );
  t.same(entries(overrides)['node_modules/ms']?.['dependencies'], { deep: 'npm:other@2.0.0' });
  t.notMatch(overrides.packageJson, /overrides/, 'they have had their effect');
});

t.test('what does not come from a registry is refused, wherever it stands', async (t) => {
  const bad: [string, object, string?][] = [
    ['a folder for a version', { ...good, version: 'file:/home/owner/app', integrity: '' }],
    ['an alias for a version', { ...good, version: 'npm:evil@1.0.0' }],
    ['a range for a version', { ...good, version: '^1.0.0' }],
    ['build metadata', { ...good, version: '1.0.0+x' }],
    ['white space in the version', { ...good, version: ' 1.0.0' }],
    ['a version that npm takes for an archive', { ...good, version: '1.0.0-x.tgz' }],
    ['no version', { integrity: DIGEST }],
    ['no integrity', { version: '1.0.0' }],
    ['an empty integrity', { ...good, integrity: '' }],
    ['integrity none', { ...good, integrity: 'none' }],
    ['integrity with an option', { ...good, integrity: `${DIGEST}?file:/x` }],
    ['a weaker digest beside it', { ...good, integrity: `${DIGEST} ${SHA1}` }],
    ['two digests', { ...good, integrity: `${DIGEST} ${DIGEST}` }],
    ['a short digest', { ...good, integrity: 'sha512-AAAA' }],
    ['stray bits', { ...good, integrity: DIGEST.replace('Q==', 'R==') }],
    ['a digest of another kind', { ...good, integrity: `sha384-${'A'.repeat(64)}` }],
    ['git', { ...good, resolved: 'git+ssh://git@github.com/a/b.git#0' }],
    ['a file', { ...good, resolved: 'file:../x.tgz' }],
    ['a link', { link: true, resolved: 'lib' }],
    ['a link of another type', { ...good, link: 'yes' }],
    ['workspaces', { ...good, workspaces: ['x'] }],
    ['a name', { ...good, name: '../x' }],
    ['a bundle of nobody', { version: '1.0.0', inBundle: true }],
    ['bundled by the flag of old', { version: '1.0.0', bundled: true, inDepBundle: true }],
    ['a command outside', { ...good, bin: { x: '../../../etc/passwd' } }],
    ['a command of a bad name', { ...good, bin: { '../x': 'cli.js' } }],
    ['an absolute command', { ...good, bin: '/bin/sh' }],
    ['a platform', { ...good, os: [{}] }],
    ['a path out', good, 'node_modules/../../ms'],
    ['a hidden folder', good, 'node_modules/.bin/ms'],
    ['a workspace', { version: '1.0.0' }, 'packages/ms'],
    ['a folder in none', good, 'node_modules/gone/node_modules/ms'],
    ['a prototype', good, 'node_modules/__proto__'],
    ...['dependencies', 'optionalDependencies', 'peerDependencies'].flatMap((field): [string, object][] => [
      [`git in ${field}`, { ...good, [field]: { x: 'git+https://x/y' } }],
      [`an address in ${field}`, { ...good, [field]: { x: 'http://192.168.1.1/x.tgz' } }],
      [`a folder in ${field}`, { ...good, [field]: { x: '../x' } }],
      [`a name in ${field}`, { ...good, [field]: { '../x': '1' } }],
      [`a list in ${field}`, { ...good, [field]: ['x'] }],
      [`a number in ${field}`, { ...good, [field]: { x: 1 } }],
    ]),
  ];
  for (const [name, entry, place = 'node_modules/ms'] of bad) {
    t.throws(() => plan({ [place]: entry }), refused, name);
    t.throws(
      () => plan({ 'node_modules/ms': good, [place === 'node_modules/ms' ? 'node_modules/other' : place]: entry }),
      refused,
      `${name}, unused`,
    );
  }
  for (const field of ['dependencies', 'optionalDependencies', 'peerDependencies', 'overrides']) {
    for (const spec of ['file:../x', 'http://127.0.0.1/x.tgz', 'user/repo', 'git+file:///x', 'workspace:*', 'npm:ms@file:x'])
      t.throws(
        () => plan({ 'node_modules/ms': good }, { ...wantsMs, [field]: { ms: spec } }),
        refused,
        `${spec} in ${field} of package.json`,
      );
  }
  t.throws(() => plan({ 'node_modules/ms': good }, { ...wantsMs, overrides: { a: { b: { c: 'x/y' } } } }), refused, 'deep in overrides');
  t.throws(() => plan({ 'node_modules/ms': good }, { ...wantsMs, overrides: { a: '$b' } }), refused, 'a reference to nothing');
  t.throws(() => plan({ 'node_modules/ms': { ...good, version: '0.9.0' } }), { ...refused, message: /not in sync/ });
  t.throws(() => plan({ 'node_modules/ms': { ...good, name: 'evil' } }), { ...refused, message: /is evil 1.0.0, but package.json wants/ });
  t.throws(() => plan({}), { ...refused, message: /lacks "ms"/ });
});

t.test('other lockfiles than those of npm 7 and later, and texts that are none', async (t) => {
  const fields = JSON.stringify(wantsMs);
  const packages = { '': {}, 'node_modules/ms': good };
  for (const lockfileVersion of [1, 4, '3', 2.5, null, undefined])
    t.throws(() => planInstall(fields, JSON.stringify({ lockfileVersion, packages })), refused, String(lockfileVersion));
  const legacy = { ms: { version: 'file:/etc', resolved: 'http://10.0.0.1/x' } };
  t.notMatch(
    planInstall(fields, JSON.stringify({ lockfileVersion: 2, packages, dependencies: legacy })).lock,
    /file:|10\.0/,
    'the tree of npm 6 is left out',
  );
  const deep = `${'['.repeat(10_000)}${']'.repeat(10_000)}`;
  for (const text of ['', '{', 'null', '[]', '"x"', deep, `{"lockfileVersion":3,"packages":${deep}}`, `{"x":"${'y'.repeat(9_000_000)}"}`])
    t.throws(() => planInstall(fields, text), refused, text.slice(0, 20));
  t.throws(() => planInstall(`{"dependencies":{"__proto__":"file:x"}}`, '{}'), refused, 'a prototype that is none');
  const twice = `{"lockfileVersion":3,"packages":{"node_modules/ms":{"version":"file:/x","integrity":"${DIGEST}","version":"1.0.0"}}}`;
  t.match(planInstall(fields, twice).lock, /"version":"1.0.0"/, 'of a key that stands twice npm sees what was checked');
  const many = Object.fromEntries(Array.from({ length: 60_000 }, (_, at) => [`p${at}`, '1']));
  t.throws(() => plan({ 'node_modules/ms': { ...good, peerDependencies: many } }), refused, 'more than anybody needs');
});

t.test('lockfiles that npm has made', async (t) => {
  const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
  const task = planInstall(read('assets/tasks/mandelbrot/package.json'), read('assets/tasks/mandelbrot/package-lock.json'));
  t.same(
    task.packages.map(({ name }) => name),
    ['pngjs'],
  );

  const own = { fields: JSON.parse(read('package.json')), lock: JSON.parse(read('package-lock.json')) };
  const whole = () => planInstall(JSON.stringify(own.fields), JSON.stringify(own.lock));
  t.throws(
    whole,
    { ...refused, message: /an override refers to "\$@openfn\/compiler"/ },
    'a development dependency from a folder replaces a package',
  );
  delete own.fields.overrides;
  delete own.fields.peerDependencies;
  delete own.lock.packages['node_modules/@openfn/compiler'];
  const locked = own.lock.packages as Record<string, Record<string, unknown>>;
  for (const place of Object.keys(locked)) if (place.startsWith('assets/')) delete locked[place];
  const shipped = Object.values(locked).find((entry) => entry['optional'] === true && entry['dev'] !== true) ?? {};
  const { integrity } = shipped;
  t.type(integrity, 'string');
  delete shipped['integrity'];
  t.throws(whole, { ...refused, message: /has no integrity/ }, 'a package that only some platforms install');
  shipped['integrity'] = integrity;
  const { packages } = whole();
  t.ok(packages.length > 100, `${packages.length} packages`);
  const names = new Set(packages.map(({ name }) => name));
  t.ok(Object.keys(own.fields.dependencies).every((name) => names.has(name)));
  t.notOk(names.has('tap'), 'none for development');
});

t.test('names, versions and ranges', async (t) => {
  for (const name of ['ms', 'big.js', '@scope/x', 'JSONStream', 'a_b', 'x-1', 'constructor', '@a/x.tgz2']) t.ok(isPackageName(name), name);
  const none = [
    '',
    '.x',
    '_x',
    '-x',
    '../x',
    'a/b',
    '@a',
    '@a/',
    '@/x',
    '@a/.x',
    'a b',
    'x\n',
    'x\0',
    'é',
    'ｍｓ',
    'node_modules',
    'Favicon.ico',
    'x.tgz',
    '@a/b/c',
    '__proto__',
    'x~y',
    'y'.repeat(215),
  ];
  for (const name of none) t.notOk(isPackageName(name), JSON.stringify(name));
  const npm = findTool('npm');
  if (npm !== undefined) {
    const validate = createRequire(realpathSync(npm))('validate-npm-package-name') as (name: string) => { validForOldPackages: boolean };
    for (let code = 0; code < 400; code += 1)
      for (const name of ['x', 'x@', '@x/', '@'].map((before) => `${before}${String.fromCharCode(code)}y`))
        if (isPackageName(name) && !validate(name).validForOldPackages) t.fail(`${JSON.stringify(name)} is no name for npm`);
  }
  for (const version of ['1.0.0', '0.0.1-rc.1', '1.0.0-beta-x']) t.ok(isExactVersion(version), version);
  for (const version of [
    '1.0',
    'v1.0.0',
    '=1.0.0',
    '1.0.0+x',
    '1.0.0\n',
    '1.0.0-x.tar.gz',
    '1.0.0-x.TGZ',
    '',
    'latest',
    `1.0.0-${'x'.repeat(300)}`,
  ])
    t.notOk(isExactVersion(version), JSON.stringify(version));
  for (const spec of [
    '^1.0.0',
    '1',
    '*',
    '',
    'latest',
    '>=1 <2 || 3.x',
    '~> 1.2',
    '1 - 2',
    'npm:other@^1',
    'npm:@scope/other@1.0.0',
    'npm:x',
    'beta.1',
  ])
    t.ok(readSpec(spec), spec);
  for (const spec of [
    ...[
      'a/b',
      'github:a/b',
      'http://x',
      '..',
      './x',
      '~/x',
      'x.tar.gz',
      'file:x',
      'C:\\x',
      'x:y',
      'git@x:y',
      'workspace:*',
      'link:x',
      'patch:x',
      '.x',
      '-x',
    ],
    ...[
      'npm:../x',
      'npm:http://x',
      'npm:a/b',
      'npm:npm:x',
      'npm:x@npm:y',
      'NPM:x',
      'npm:x@file:y',
      'npm:',
      'npm:@x',
      'npm:x@1\n',
      '1\n',
      '\t1',
      '1\u00a0',
      '１',
      '$x',
    ],
    'x'.repeat(2_000),
  ])
    t.notOk(readSpec(spec), JSON.stringify(spec));
  const meets = (version: string, spec: string) => fits(version, readSpec(spec) ?? { text: '' });
  t.ok(meets('2.0.0-rc.1', '*'), 'npm takes any version for *');
  t.ok(meets('2.0.0-rc.1', ''), 'and for nothing');
  t.ok(meets('2.0.0-rc.1', 'npm:x@next'), 'and for a tag');
  t.notOk(meets('2.0.0-rc.1', '^2.0.0'));
  t.notOk(meets('1.0.0', 'npm:x@2'));
});

t.test('of a package.json what decides what is installed', async (t) => {
  t.equal(dependencyFields('{"name":"x","devDependencies":{"a":"1"}}'), null);
  t.equal(dependencyFields('{"dependencies":{"b":"1","a":"2"},"scripts":{"install":"rm -rf /"}}'), '{"dependencies":{"a":"2","b":"1"}}');
  t.equal(
    dependencyFields('{"dependencies":{"a":"1"},"peerDependencies":{"b":"1"},"peerDependenciesMeta":{"b":{"optional":true,"x":1},"c":{}}}'),
    '{"dependencies":{"a":"1"},"peerDependencies":{"b":"1"},"peerDependenciesMeta":{"b":{"optional":true}}}',
  );
  for (const text of [
    '{',
    '[]',
    'null',
    '{"dependencies":["a"]}',
    '{"dependencies":{"a":null}}',
    '{"dependencies":null}',
    '{"overrides":{"__proto__x/..":"1"},"dependencies":{"a":"1"}}',
  ])
    t.throws(() => dependencyFields(text), refused, text);
});
