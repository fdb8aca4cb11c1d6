import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { findTool } from '../../lab/require.js';
import { packTarball } from './tarball.js';

/** Stands in every file and every answer that nobody may get. */
export const SECRET = 'CANARY-7f3a9c';

/** What an owner has on the machine and in the network: a folder with a program, an archive, a repository, and servers. */
export interface Canaries {
  readonly folder: string;
  readonly archive: string;
  /** Undefined without git. */
  readonly repository: string | undefined;
  /** Addresses of archives: on loopback, in the LAN, and where clouds keep their metadata. */
  readonly addresses: readonly string[];
  /** Which of the servers were connected to. */
  readonly touched: Set<string>;
  close(): void;
}

/** `hosts` are addresses of this machine. */
export async function setCanaries(folder: string, hosts: readonly string[]): Promise<Canaries> {
  const app = join(folder, 'app');
  const files = { 'package.json': '{"name":"app","version":"1.0.0"}', '.env': `KEY=${SECRET}`, 'index.js': `// ${SECRET}` };
  mkdirSync(app, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(app, name), text);
  const tarball = packTarball(files);
  const archive = join(folder, 'app.tgz');
  writeFileSync(archive, tarball);
  const repository = findTool('git') === undefined ? undefined : makeRepository(join(folder, 'repository'), files);

  const touched = new Set<string>();
  const servers: Server[] = [];
  const addresses: string[] = [];
  for (const host of hosts) {
    const server = createServer((_request, response) => void response.end(tarball));
    server.on('connection', () => touched.add(host));
    server.listen(0, host);
    await once(server, 'listening');
    servers.push(server);
    addresses.push(`http://${host}:${(server.address() as AddressInfo).port}/app.tgz`);
  }
  const close = () => {
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  };
  return { folder: app, archive, repository, addresses, touched, close };
}

function makeRepository(folder: string, files: Readonly<Record<string, string>>): string {
  mkdirSync(folder);
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=x', '-c', 'user.email=x@x', ...args], { cwd: folder, stdio: 'ignore' });
  git('init', '--initial-branch=main');
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  git('add', '--all');
  git('commit', '--message=x');
  return folder;
}
