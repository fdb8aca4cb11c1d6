import type { SmallRegistry } from './small-registry.js';

/** A package.json and a lockfile that are as they should be. */
export interface Base {
  readonly name: string;
  readonly packageJson: object;
  readonly lock: object;
}

/** Publishes what the bases need, and what an attacker would. */
export function publishAll(registry: SmallRegistry, canary: { readonly folder: string; readonly address: string }): void {
  registry.publish('ms', '1.0.0');
  registry.publish('ms', '2.1.3', { bin: { ms: './cli.js' } }, { 'cli.js': '#!/usr/bin/env node\n' });
  registry.publish('left', '1.0.0', { dependencies: { ms: '^1.0.0' } });
  registry.publish('@corp/tool', '3.0.0', { dependencies: { ms: '2' } });
  registry.publish('peered', '1.0.0', { peerDependencies: { ms: '>=1' } });
  registry.publish('on-linux', '1.0.0', { os: ['linux'] });
  registry.publish('on-mars', '1.0.0', { os: ['aix'], cpu: ['s390'] });
  registry.publish('old', '0.1.0', {}, {}, true);
  const inner = JSON.stringify({ name: 'inner', version: '1.0.0', dependencies: { x: canary.address, y: `file:${canary.folder}` } });
  registry.publish(
    'bundler',
    '1.0.0',
    { dependencies: { inner: '1.0.0' }, bundleDependencies: ['inner'] },
    { 'node_modules/inner/package.json': inner, 'node_modules/inner/index.js': "module.exports = 'inner';" },
  );
  // What follows is hostile by itself.
  registry.publish('wants-lan', '1.0.0', { dependencies: { x: canary.address } });
  registry.publish('wants-folder', '1.0.0', { dependencies: { x: `file:${canary.folder}` } });
  registry.publish('wants-git', '1.0.0', { optionalDependencies: { x: `git+file://${canary.folder}` } });
  registry.publish('bin-outside', '1.0.0', { bin: { evil: '../../../../../../etc/hostname' } });
  const shrinkwrap = { lockfileVersion: 3, packages: { '': {}, 'node_modules/x': { version: '1.0.0', resolved: canary.address } } };
  registry.publish(
    'shrunk',
    '1.0.0',
    { _hasShrinkwrap: true, dependencies: { x: '1' } },
    { 'npm-shrinkwrap.json': JSON.stringify(shrinkwrap) },
  );
}

export function makeBases(registry: SmallRegistry): Base[] {
  const entry = (name: string, version: string, more: object = {}) => {
    const published = registry.find(name, version);
    return {
      version,
      resolved: `https://r.example/${name}/-/${name}-${version}.tgz`,
      integrity: published?.integrity,
      license: 'MIT',
      engines: { node: '>=4' },
      ...more,
    };
  };
  const base = (name: string, fields: object, packages: object, more: object = {}): Base => ({
    name,
    packageJson: { name: 'task', version: '1.0.0', ...fields },
    lock: {
      name: 'task',
      version: '1.0.0',
      lockfileVersion: 3,
      requires: true,
      packages: { '': { name: 'task', ...fields }, ...packages },
      ...more,
    },
  });
  const ms1 = entry('ms', '1.0.0');
  const ms2 = entry('ms', '2.1.3', { bin: { ms: 'cli.js' } });
  return [
    base('plain', { dependencies: { ms: '^2.0.0' } }, { 'node_modules/ms': ms2 }),
    base(
      'nested',
      { dependencies: { left: '1', ms: '2.x' } },
      {
        'node_modules/left': entry('left', '1.0.0', { dependencies: { ms: '^1.0.0' } }),
        'node_modules/left/node_modules/ms': ms1,
        'node_modules/ms': ms2,
      },
    ),
    base(
      'alias',
      { dependencies: { 'ms-one': 'npm:ms@^1.0.0', '@corp/tool': '^3.0.0' } },
      {
        'node_modules/ms-one': { name: 'ms', ...ms1 },
        'node_modules/@corp/tool': entry('@corp/tool', '3.0.0', { dependencies: { ms: '2' } }),
        'node_modules/ms': ms2,
      },
    ),
    base(
      'platforms',
      { dependencies: { ms: '*' }, optionalDependencies: { 'on-linux': '1.0.0', 'on-mars': '1.0.0' } },
      {
        'node_modules/ms': ms2,
        'node_modules/on-linux': entry('on-linux', '1.0.0', { os: ['linux'], optional: true }),
        'node_modules/on-mars': entry('on-mars', '1.0.0', { os: ['aix'], cpu: ['s390'], optional: true }),
      },
    ),
    base(
      'peers',
      { dependencies: { peered: '1' }, peerDependencies: { ms: '1' }, peerDependenciesMeta: { ms: { optional: true } } },
      {
        'node_modules/peered': entry('peered', '1.0.0', {
          peerDependencies: { ms: '>=1' },
          peerDependenciesMeta: { ms: { optional: true } },
        }),
        'node_modules/ms': { ...ms1, peer: true },
      },
    ),
    base(
      'bundle',
      { dependencies: { bundler: '1.0.0' } },
      {
        'node_modules/bundler': entry('bundler', '1.0.0', { dependencies: { inner: '1.0.0' }, bundleDependencies: ['inner'] }),
        'node_modules/bundler/node_modules/inner': { version: '1.0.0', inBundle: true, license: 'MIT' },
      },
    ),
    base(
      'overrides',
      { dependencies: { left: '1', ms: '2' }, overrides: { left: { ms: '$ms' }, other: { '.': '1', ms: 'npm:ms@2' } } },
      { 'node_modules/left': entry('left', '1.0.0', { dependencies: { ms: '^1.0.0' } }), 'node_modules/ms': ms2 },
    ),
    base(
      'development',
      { dependencies: { ms: '2' }, devDependencies: { tools: 'file:tools' }, workspaces: ['tools'] },
      {
        'node_modules/ms': ms2,
        'node_modules/tools': { resolved: 'tools', link: true, dev: true },
        tools: { version: '1.0.0', dev: true },
      },
      { dependencies: { ms: { version: 'file:../../x', resolved: 'http://10.0.0.1/x.tgz' } } },
    ),
    ...['wants-lan', 'wants-folder', 'wants-git', 'bin-outside', 'shrunk'].map((name) =>
      base(
        `hostile ${name}`,
        { dependencies: { [name]: '1.0.0' } },
        { [`node_modules/${name}`]: entry(name, '1.0.0', { hasShrinkwrap: true }) },
      ),
    ),
  ];
}
