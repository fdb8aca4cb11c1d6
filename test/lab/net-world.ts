import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, type NetConnectOpts } from 'node:net';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { requireTools } from './require.js';

const INSIDE = 'PEERWORK_TEST_NET_WORLD';

/**
 * Runs the calling file again in a network namespace of its own. Resolves with true there, and outside with false once that run has
 * ended. Everything ends with the processes: nothing is left on the machine.
 */
export async function insideNetNamespace(t: Test & { spawn: SpawningTest['spawn'] }, url: string): Promise<boolean> {
  if (process.env[INSIDE] !== undefined) return true;
  const file = fileURLToPath(url);
  if (!requireTools(t, { unshare: 'util-linux', nsenter: 'util-linux', ip: 'iproute2', bwrap: 'bubblewrap' }, { root: true })) return false;
  // Without the module that tap preloads into every child of Node: a job may not read it.
  const words = ['--net', '--mount', '--', 'env', '-u', 'NODE_OPTIONS', process.execPath, '--enable-source-maps', file];
  await t.spawn('unshare', words, { env: { ...process.env, [INSIDE]: 'yes' } }, `${basename(file)} in a namespace`);
  return false;
}

interface SpawningTest {
  spawn(command: string, args: string[], options: object, name: string): Promise<unknown>;
}

/** Responses of its machines: on port 80 their address followed by the requested number of bytes; 7777 the same; no other ports. */
const SERVER = `
const http = require('node:http');
for (const port of [80, 7777]) http.createServer((request, response) => {
  const { searchParams } = new URL(request.url, 'http://x');
  const to = searchParams.get('to');
  if (to) return response.writeHead(302, { location: to }).end();
  response.write(request.socket.localAddress.replace('::ffff:', ''));
  response.end(Buffer.alloc(Number(searchParams.get('bytes') ?? 0), '.'));
}).listen(port, '::');
process.stdin.on('end', () => process.exit()).resume();
console.log('ready');
`;

export interface NetWorldPlan {
  /** Addresses of other machines, all reached by the same route. */
  readonly others: readonly string[];
  /** Addresses of this machine, as CIDR. */
  readonly own: readonly string[];
  readonly names: Readonly<Record<string, readonly string[]>>;
}

/**
 * Creates other machines as one process behind a cable; this process's namespace has the other end and host names. Only inside
 * `insideNetNamespace`.
 */
export async function openNetWorld(t: Test, { others, own, names }: NetWorldPlan): Promise<void> {
  const world: ChildProcess = spawn('unshare', ['--net', process.execPath, '-e', SERVER], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => world.kill('SIGKILL'));
  if (world.stdout !== null) await once(world.stdout, 'data');
  const ip = (...words: string[]) => execFileSync('ip', words);
  const there = (...words: string[]) => execFileSync('nsenter', ['-t', String(world.pid), '-n', 'ip', ...words]);
  const nodad = (address: string) => (address.includes(':') ? ['nodad'] : []);
  ip('link', 'set', 'lo', 'up');
  ip('link', 'add', 'w0', 'type', 'veth', 'peer', 'name', 'w1', 'netns', String(world.pid));
  for (const cidr of own) ip('addr', 'add', cidr, 'dev', 'w0', ...nodad(cidr));
  ip('link', 'set', 'w0', 'up');
  there('link', 'set', 'lo', 'up');
  there('link', 'set', 'w1', 'up');
  for (const address of others) there('addr', 'add', address, 'dev', address.startsWith('fe80:') ? 'w1' : 'lo', ...nodad(address));
  there('addr', 'add', '192.168.77.254/24', 'dev', 'w1');
  there('addr', 'add', 'fd77::254/64', 'dev', 'w1', 'nodad');
  for (const back of ['0.0.0.0/0', '::/0']) there('route', 'replace', back, 'via', back === '::/0' ? 'fd77::1' : '192.168.77.1');
  ip('route', 'add', 'default', 'via', '192.168.77.254');
  ip('-6', 'route', 'add', 'default', 'via', 'fd77::254');
  // A name server that is certainly absent: names that are not in the file fail at once.
  const folder = t.testdir({ 'resolv.conf': 'nameserver 127.0.0.1\n' });
  const hosts = join(folder, 'hosts');
  const lines = Object.entries(names).flatMap(([name, addresses]) => addresses.map((address) => `${address} ${name}`));
  writeFileSync(hosts, ['127.0.0.1 localhost', ...lines, ''].join('\n'));
  for (const name of ['hosts', 'resolv.conf']) execFileSync('mount', ['--bind', join(folder, name), `/etc/${name}`]);
}

/** Resolves with `connected`, or the code of the failure. */
export function outcomeOf(options: NetConnectOpts): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(options);
    socket.setTimeout(5_000, () => resolve('timeout'));
    socket.on('error', ({ code }: NodeJS.ErrnoException) => resolve(String(code)));
    socket.on('connect', () => {
      resolve('connected');
      socket.destroy();
    });
  });
}
