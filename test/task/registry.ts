import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { writeTree } from './fixtures.js';

const run = promisify(execFile);

export interface Registry {
  readonly url: string;
  /** Requested paths, in order. */
  readonly asked: string[];
  /** While set, the registry does not respond. */
  silent: boolean;
  readonly integrity: string;
}

/**
 * A registry with one package, `scripted` 1.0.0, whose install script leaves a file and starts a process that outlives it. npm uses it in
 * this process until the test ends.
 */
export async function openRegistry(t: Test, folder: string): Promise<Registry> {
  await writeTree(join(folder, 'package'), {
    'package.json': JSON.stringify({ name: 'scripted', version: '1.0.0', scripts: { install: 'node install.js' } }),
    'index.js': "module.exports = 'scripted';",
    'install.js': "require('fs').writeFileSync('ran.json', JSON.stringify(process.env))",
  });
  await run('tar', ['-czf', 'scripted-1.0.0.tgz', 'package'], { cwd: folder });
  const tarball = await readFile(join(folder, 'scripted-1.0.0.tgz'));
  const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`;
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    if (registry.silent) return;
    if (request.url === '/scripted/-/scripted-1.0.0.tgz') return void response.end(tarball);
    if (request.url !== '/scripted') return void response.writeHead(404).end('{}');
    const dist = { tarball: `${registry.url}/scripted/-/scripted-1.0.0.tgz`, integrity };
    const version = { name: 'scripted', version: '1.0.0', hasInstallScript: true, scripts: { install: 'node install.js' }, dist };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ name: 'scripted', 'dist-tags': { latest: '1.0.0' }, versions: { '1.0.0': version } }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const registry: Registry = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, silent: false, integrity };
  const before = process.env['npm_config_registry'];
  process.env['npm_config_registry'] = registry.url;
  t.teardown(() => {
    if (before === undefined) delete process.env['npm_config_registry'];
    else process.env['npm_config_registry'] = before;
    server.closeAllConnections();
    server.close();
  });
  return registry;
}
