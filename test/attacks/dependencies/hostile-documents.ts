import type { SeededRandom } from '../../lab/seeded-random.js';
import type { Base } from './bases.js';
import type { Canaries } from './canary.js';

export interface Hostile {
  readonly name: string;
  readonly packageJson: string;
  readonly lock: string;
}

type Tree = { [key: string]: unknown };
type Pick = readonly [unknown, ...unknown[]];

/** What a package.json or an entry of a lockfile may hold, and some that it may not. */
const fields = [
  'name version resolved integrity link inBundle inDepBundle bundled dev optional devOptional peer extraneous requires',
  'dependencies optionalDependencies peerDependencies peerDependenciesMeta devDependencies overrides bundleDependencies bundledDependencies',
  'acceptDependencies workspaces bin directories man scripts hasInstallScript gypfile hasShrinkwrap _hasShrinkwrap _resolved _integrity _from _id',
  'os cpu libc engines funding deprecated license target realpath path root parent packages lockfileVersion from publishConfig config type',
]
  .join(' ')
  .split(' ');
const groups = [
  'dependencies',
  'optionalDependencies',
  'peerDependencies',
  'acceptDependencies',
  'overrides',
  'devDependencies',
  'requires',
];
const keys = [
  ...['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '', ' ', '.', '..', '../x', '/etc', 'node_modules', '.bin'],
  ...[
    'ms.tgz',
    'evil.tar.gz',
    '-g',
    '--registry=http://10.9.8.7',
    '_x',
    '.x',
    '@corp',
    '@corp/',
    '@/x',
    '@corp/../x',
    'a/b',
    'a b',
    'ms\u0000',
    'ms\n',
  ],
  ...[
    '\u202ems',
    'ｍｓ',
    'ms\u200b',
    'MS',
    'ms@1',
    'npm:ms',
    'file:x',
    'C:\\x',
    'x'.repeat(300),
    '$ms',
    'favicon.ico',
    'NODE_MODULES',
    'é',
    'e\u0301',
  ],
] as const;

/** Every text that npm takes for a path, an address, a repository, an archive or an alias of one, and twins of them. */
export function nastySpecs({ folder, archive, repository, addresses }: Canaries): string[] {
  const [loopback = '', lan = '', metadata = ''] = addresses;
  const git = repository ?? '/nowhere';
  const places = [
    folder,
    `.${folder}`,
    `../../../../../../../..${folder}`,
    archive,
    `~${folder}`,
    `${folder}/`,
    `/proc/self/root${folder}`,
  ];
  const plain = [
    ...places.flatMap((place) => [
      place,
      `file:${place}`,
      `link:${place}`,
      `file://${place}`,
      `FILE:${place}`,
      `npm:ms@file:${place}`,
      `npm:${place}`,
    ]),
    ...['git+file://', 'git+file:', 'git:', 'git+ssh://git@127.0.0.1'].map((scheme) => `${scheme}${git}`),
    ...addresses.flatMap((address) => [
      address,
      `npm:ms@${address}`,
      `ms@${address}`,
      address.replace('http:', 'HTTP:'),
      `git+${address}`,
      `${address}#x`,
    ]),
    ...[
      lan.replace('http://', 'git://'),
      lan.replace('http://', 'git+ssh://git@'),
      lan.replace('http://', '//'),
      metadata.replace('http:', 'https:'),
    ],
    ...[
      'user/repo',
      'github:user/repo',
      'gist:0123456789abcdef',
      'gitlab:user/repo',
      'bitbucket:user/repo',
      'git@github.com:user/repo.git',
      'user/repo#semver:^1',
    ],
    ...[
      'workspace:*',
      'workspace:^1',
      'catalog:',
      'portal:../x',
      `patch:ms@1.0.0#${folder}/x.patch`,
      'exec:./x',
      'jsr:@std/x',
      'npm:npm:ms@1',
      'NPM:ms@1',
    ],
    ...[
      'x.tgz',
      'x.tar.gz',
      'X.TGZ',
      '1.0.0-x.tgz',
      '1.0.0-x.tar',
      '1.0.0-0.tar.gz',
      './x',
      '../x',
      '.',
      '..',
      '~/x',
      'C:\\x',
      'c:/x',
      '\\\\host\\x',
      '.x',
    ],
    ...[
      '1.0.0+build',
      ' 1.0.0',
      '1.0.0 ',
      '1.0.0\n',
      '\t1.0.0',
      'v1.0.0',
      '=1.0.0',
      '01.0.0',
      '1.0',
      '1',
      '',
      '*',
      'latest',
      'x',
      '>=0',
      '^1 || ^2',
      '1 - 2',
      'nonsense tag',
    ],
    ...[
      'npm:',
      'npm:@',
      'npm:ms',
      'npm:ms@',
      'npm:ms@2',
      'npm:@corp/tool@3',
      'npm:../ms@1',
      'npm:node_modules@1',
      'npm:__proto__@1',
      'npm:ms@latest',
      'npm:ms@x.tgz',
    ],
    ...['none', 'sha1-', 'sha512-', 'sha512-AAAA', 'md5-AAAA', 'sha512-x?file:/etc/passwd', 'true', '$ms', '$__proto__', '$'],
  ];
  const twisted = [`file:${folder}`, loopback, 'user/repo'].flatMap((text) => [
    ` ${text}`,
    `\t${text}`,
    `\n${text}`,
    `\u0000${text}`,
    `\u200b${text}`,
    `\u202e${text}`,
    `^1.0.0 || ${text}`,
    `${text} || ^1`,
    text.replace(':', '：'),
    text.replace('f', 'ｆ'),
    text.replaceAll('/', '\u2215'),
    text.replaceAll('/', '%2f'),
    text.replaceAll('/', '\\'),
  ]);
  return [...plain, ...twisted];
}

/** Seeded mutations of good documents: each field with each nasty value, then combinations of all kinds. The same for the same random source. */
export function* hostileDocuments(bases: readonly Base[], canaries: Canaries, random: SeededRandom, count: number): Generator<Hostile> {
  const specs = nastySpecs(canaries);
  const odd: unknown[] = [null, true, false, 0, 1e308, [], {}, [[]], ['x'], { x: 1 }, 'y'.repeat(70_000), deep(600), { __proto__x: 1 }];
  const integrities = [
    '',
    'none',
    'sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=',
    `sha512-${'A'.repeat(86)}==`,
    `sha512-${'A'.repeat(85)}B==`,
    `sha384-${'A'.repeat(64)}`,
  ];
  const values = [...specs, ...integrities, ...odd] as unknown as Pick;
  let made = 0;
  for (const value of values) {
    for (const field of fields) {
      if (made >= count / 2) break;
      const base = bases[made % bases.length] as Base;
      made += 1;
      const [packageJson, lock] = copies(base);
      const target = made % 3 === 0 ? packageJson : entryOf(lock, random);
      target[field] = groups.includes(field) && typeof value === 'string' ? { [random.pick(['ms', 'x', 'left'])]: value } : value;
      yield { name: `${base.name}: ${field}`, packageJson: JSON.stringify(packageJson), lock: JSON.stringify(lock) };
    }
  }
  for (; made < count; made += 1) {
    const base = random.pick(bases as unknown as readonly [Base, ...Base[]]);
    const [packageJson, lock] = copies(base);
    const steps: string[] = [];
    for (let step = random.below(4); step >= 0; step -= 1) steps.push(mutate(packageJson, lock, random, values));
    const [first, second] = [JSON.stringify(packageJson), JSON.stringify(lock)];
    const twisted = random.below(10) === 0;
    yield {
      name: `${base.name}: ${steps.join(', ')}`,
      packageJson: twisted ? twistText(first, random, specs) : first,
      lock: twisted ? second : twistText(second, random, specs, 12),
    };
  }
}

function copies({ packageJson, lock }: Base): [Tree, Tree] {
  return [structuredClone(packageJson) as Tree, structuredClone(lock) as Tree];
}

function entryOf(lock: Tree, random: SeededRandom): Tree {
  const packages = lock['packages'] as Tree;
  const places = Object.keys(packages) as [string, ...string[]];
  return packages[random.pick(places)] as Tree;
}

function mutate(packageJson: Tree, lock: Tree, random: SeededRandom, values: Pick): string {
  const packages = (typeof lock['packages'] === 'object' && lock['packages'] !== null ? lock['packages'] : {}) as Tree;
  const target = random.below(3) === 0 ? packageJson : Object.keys(packages).length > 0 ? entryOf(lock, random) : lock;
  const field = random.pick(fields as unknown as readonly [string, ...string[]]);
  const value = random.pick(values);
  const key = random.pick(keys as unknown as readonly [string, ...string[]]);
  const name = random.pick(['ms', 'left', 'x', 'wants-lan', 'wants-folder', '@corp/tool', key]);
  if (typeof target !== 'object' || target === null) return 'nothing';
  switch (random.below(12)) {
    case 0:
      target[field] = value;
      return field;
    case 1:
      target[random.pick(['dependencies', 'optionalDependencies', 'peerDependencies'])] = { ms: '*', [name]: value };
      return 'wants';
    case 2:
      target['overrides'] = { [name]: { [key]: value, '.': random.pick(values), ms: { ms: { x: value } } } };
      return 'overrides';
    case 3:
      define(packages, `node_modules/${name}`, { version: value, integrity: random.pick(values), resolved: random.pick(values) });
      return 'entry';
    case 4:
      define(packages, random.pick([key, `node_modules/${key}`, `node_modules/ms/node_modules/${key}`, `packages/${key}`, `/${key}`]), {
        ...target,
      });
      return 'place';
    case 5:
      Object.assign(target, { link: true, resolved: value });
      return 'link';
    case 6:
      Object.assign(target, { bundleDependencies: [name, key], inBundle: true, integrity: undefined, dependencies: { [name]: '*' } });
      return 'bundle';
    case 7:
      delete target[field];
      delete target['integrity'];
      return 'less';
    case 8:
      lock['lockfileVersion'] = random.pick([1, 2, 3, 4, '3', null, 3.5]);
      lock['dependencies'] = { ms: { version: value, resolved: value, integrity: value, requires: { x: value }, dependencies: {} } };
      return 'version';
    case 9:
      target['name'] = random.pick([name, value]);
      target['version'] = random.pick([value, '1.0.0', '2.1.3']);
      return 'alias';
    case 10:
      target['bin'] = random.pick([value, { [key]: value }, { ms: '../../../x' }, { '../ms': 'cli.js' }]);
      return 'bin';
    default:
      Object.assign(target, {
        os: value,
        cpu: [value],
        libc: value,
        engines: { node: value },
        hasInstallScript: true,
        scripts: { install: 'id' },
      });
      return 'platform';
  }
}

/** Also a key that assignment would not make. */
function define(target: Tree, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
}

/** What only a text can have: keys that stand twice, broken ends, other spellings of a letter. */
function twistText(text: string, random: SeededRandom, specs: readonly string[], unless = 1): string {
  if (random.below(unless) !== 0) return text;
  const spec = JSON.stringify(specs[random.below(specs.length)]);
  const field = random.pick(['version', 'integrity', 'resolved', 'link', '__proto__', 'dependencies']);
  switch (random.below(6)) {
    case 0:
      return text.replace(/"version":/g, `"version":${spec},"version":`);
    case 1:
      return text.replace(/"integrity":"[^"]*"/g, (whole) => `${whole},"${field}":${spec}`);
    case 2:
      return text.replace('"packages":{', `"packages":{"node_modules/ms":{"version":${spec}}},"packages":{`);
    case 3:
      return text.slice(0, random.below(text.length));
    case 4:
      return text.replace('ms', '\\u006ds').replace('{', `{"${field}":{"x":${spec}},`);
    default:
      return `\ufeff${text}`;
  }
}

function deep(levels: number): unknown {
  let value: unknown = 'x';
  for (let level = 0; level < levels; level += 1) value = { x: value };
  return value;
}
