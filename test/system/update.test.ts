import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import t, { type Test } from 'tap';
import { installKind } from '../../src/cli/service/install-kind.js';
import { isNewer, updateStep } from '../../src/cli/service/update.js';
import { version } from '../../src/version.js';
import { packageRoot } from '../lab/grid.js';
import { OwnersFolder } from '../lab/service.js';

/** A registry with one package in one version, or none: just enough of npm's protocol for `view` and `install`. */
async function startRegistry(t: Test, published?: { readonly version: string; readonly tarball: Buffer }): Promise<string> {
  const server = createServer((request, response) => {
    if (published !== undefined && request.url === '/peerwork.tgz') return response.end(published.tarball);
    if (published === undefined || request.url !== '/peerwork') return response.writeHead(404).end('{"error":"not_found"}');
    const integrity = `sha512-${createHash('sha512').update(published.tarball).digest('base64')}`;
    const dist = { tarball: `http://${request.headers.host}/peerwork.tgz`, integrity };
    const latest = { name: 'peerwork', version: published.version, dist };
    return response.end(
      JSON.stringify({ name: 'peerwork', 'dist-tags': { latest: published.version }, versions: { [published.version]: latest } }),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

/** Installs this very peerwork as a project's dependency, as npm would. */
function installCopy(folder: string): string {
  const own = join(folder, 'project', 'node_modules', 'peerwork');
  for (const part of ['bin', 'build/src', 'package.json']) cpSync(join(packageRoot, part), join(own, part), { recursive: true });
  // Its own dependencies are found one folder further up.
  symlinkSync(join(packageRoot, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'project', 'package.json'), `{"name":"project","dependencies":{"peerwork":"${version}"}}`);
  return own;
}

t.test('an installation is told by where it lies, and each is updated in its own way', async (t) => {
  const dir = t.testdir({
    project: { 'package.json': '{}', node_modules: { peerwork: {} } },
    lib: { node_modules: { peerwork: {} } },
    _npx: { abc: { 'package.json': '{}', node_modules: { peerwork: {} } } },
    clone: {},
  });
  const step = (...parts: string[]) => {
    const folder = join(dir, ...parts);
    return { kind: installKind(folder), ...updateStep(installKind(folder), folder) };
  };
  t.match(step('project', 'node_modules', 'peerwork'), {
    kind: 'project',
    npm: { args: ['install', 'peerwork@latest'], cwd: join(dir, 'project') },
  });
  t.match(step('lib', 'node_modules', 'peerwork'), { kind: 'global', npm: { args: ['install', '--global', 'peerwork@latest'] } });
  t.match(step('_npx', 'abc', 'node_modules', 'peerwork'), { kind: 'npx', npm: undefined, line: /npx peerwork@latest/ });
  t.match(step('clone'), { kind: 'clone', npm: undefined, line: /git pull --ff-only && node scripts\/setup.mjs --for-use/ });
});

t.test('versions are compared by their numbers', async (t) => {
  for (const [one, other] of [
    ['1.10.0', '1.9.9'],
    ['2.0.0', '1.99.99'],
    ['1.0.0', '1.0.0-beta.1'],
  ] as const) {
    t.ok(isNewer(one, other), `${one} > ${other}`);
    t.notOk(isNewer(other, one));
  }
  t.notOk(isNewer('1.0.0', '1.0.0'));
});

t.test('a clone is not touched, but told what to do', async (t) => {
  const { tarball } = await pack(t, '99.0.0');
  const registry = await startRegistry(t, { version: '99.0.0', tarball });
  const owner = new OwnersFolder({ env: { npm_config_registry: registry } });
  t.teardown(() => owner.close());
  t.match(await owner.type('update', '--check'), { code: 0, stdout: /99\.0\.0 is published[\s\S]*clone of the repository.*git pull/ });
  const { stdout } = await owner.type('update', '--json');
  t.match(JSON.parse(stdout), { installed: version, latest: '99.0.0', newer: true, kind: 'clone', would: /git pull/ });
  const unpublished = new OwnersFolder({ env: { npm_config_registry: await startRegistry(t) } });
  t.teardown(() => unpublished.close());
  t.match(await unpublished.type('update'), { code: 0, stdout: /no published version/ });
  const offline = new OwnersFolder({ env: { npm_config_registry: 'http://127.0.0.1:9/', npm_config_fetch_retries: '0' } });
  t.teardown(() => offline.close());
  t.match(await offline.type('update'), { code: 1, stderr: /\[update-failed\]/ });
});

t.test('an installed package is replaced by the latest one', async (t) => {
  const { tarball } = await pack(t, '99.0.0');
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  const copy = installCopy(owner.path);
  const registry = await startRegistry(t, { version: '99.0.0', tarball });
  const env = { npm_config_registry: registry };
  const user = new OwnersFolder({ path: owner.file('project'), script: join(copy, 'bin', 'peerwork.js'), env });
  t.match(await user.type('update', '--check'), { code: 0, stdout: /99\.0\.0 is published[\s\S]*npm install peerwork@latest/ });
  t.equal(JSON.parse(readFileSync(join(copy, 'package.json'), 'utf8')).version, version, '--check changes nothing');
  t.match(await user.type('update'), { code: 0, stdout: /Updated to 99\.0\.0\./ });
  t.equal(JSON.parse(readFileSync(join(copy, 'package.json'), 'utf8')).version, '99.0.0');
});

t.test('what already is the latest stays', async (t) => {
  const { tarball } = await pack(t, version);
  const owner = new OwnersFolder({ env: { npm_config_registry: await startRegistry(t, { version, tarball }) } });
  t.teardown(() => owner.close());
  t.match(await owner.type('update'), { code: 0, stdout: /is the latest/ });
});

/** Packs a package that only prints its version. */
async function pack(t: Test, packed: string): Promise<{ tarball: Buffer }> {
  const folder = t.testdir();
  mkdirSync(join(folder, 'package'));
  writeFileSync(join(folder, 'package', 'package.json'), JSON.stringify({ name: 'peerwork', version: packed }));
  await execa('tar', ['-czf', 'peerwork.tgz', 'package'], { cwd: folder });
  return { tarball: readFileSync(join(folder, 'peerwork.tgz')) };
}
