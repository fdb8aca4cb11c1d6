/**
 * What attacks aim at: a process that listens on every address of its network namespace and tells of every connection, datagram and question. Started
 * as a program, `node world.js '<WorldPlan>'`; it takes commands as JSON lines and tells as JSON lines.
 */
import { createSocket } from 'node:dgram';
import { chmodSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { answerName } from './name-server.js';

export interface WorldPlan {
  /** Names and where they lead; two or more lists take turns, as in DNS rebinding. Without: no name server. */
  readonly names?: Readonly<Record<string, readonly (readonly string[])[]>>;
  readonly nameServers?: readonly string[];
  /** Groups whose datagrams are heard. */
  readonly groups?: readonly string[];
}

export type WorldCommand =
  | { readonly do: 'listen'; readonly ports: readonly number[]; readonly paths?: readonly string[] }
  | { readonly do: 'dial' | 'rest'; readonly ports: readonly number[]; readonly hosts: readonly string[] };

/** Something came: at a port, at an address of this machine, with words that may name the attack. */
export interface Hit {
  readonly kind: 'tcp' | 'udp' | 'path' | 'name' | 'dialled';
  readonly port: number;
  readonly address: string;
  readonly text: string;
}

export type WorldLine = Hit | { readonly kind: 'ready'; readonly failed: readonly string[] };

const DIAL_EVERY_MS = 100;
const say = (line: WorldLine) => process.stdout.write(`${JSON.stringify(line)}\n`);

function serve(socket: Socket, port: number, path = ''): void {
  const kind = path === '' ? 'tcp' : 'path';
  const address = path === '' ? (socket.localAddress ?? '') : path;
  say({ kind, port, address, text: '' });
  let heard = '';
  socket.setTimeout(5_000, () => socket.destroy());
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    if (heard.length > 4_000) return;
    heard += chunk.toString('latin1');
    say({ kind, port, address, text: heard.slice(0, 1_000) });
    const target = /^(?:GET|POST|HEAD) \/to\/(\S+)/.exec(heard)?.[1];
    if (target !== undefined) {
      socket.end(`HTTP/1.1 307 Elsewhere\r\nlocation: ${decodeURIComponent(target)}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
      return;
    }
    const asked = path === '' ? null : /^CONNECT (?:http:\/\/)?(?:\S*@)?(\S+):(\d+)\/? /.exec(chunk.toString());
    if (asked !== null) relay(socket, String(asked[1]), Number(asked[2]));
    else if (/^[A-Z]+ \S+ HTTP/.test(heard)) obey(socket, heard, address);
  });
}

function obey(socket: Socket, heard: string, address: string): void {
  const absolute = /^GET http:\/\/([^/:]+):(\d+)\/(\S*) /.exec(heard) ?? /^GET \/(?:\S*) HTTP\/1.1\r\nhost: ([\d.]+):(\d+)\r\n/.exec(heard);
  if (absolute !== null && address.startsWith('/')) {
    const there = connect({ host: String(absolute[1]), port: Number(absolute[2]) }, () => there.end(heard));
    there.on('error', () => {});
  }
  socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello from ${address}`);
}

/** A proxy without rules, for the control: it takes every spelling for what it is meant to be. */
function relay(socket: Socket, written: string, port: number): void {
  socket.removeAllListeners('data');
  const host = URL.canParse(`http://${written}/`) ? new URL(`http://${written}/`).hostname.replace(/^\[|\]$/g, '') : written;
  const there = connect({ host, port: port % 65_536 }, () => {
    socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
    socket.pipe(there).pipe(socket);
  });
  there.on('error', () => socket.destroy());
}

async function listen(ports: readonly number[], paths: readonly string[], groups: readonly string[]): Promise<void> {
  const failed: string[] = [];
  const opened = (server: Server, what: string, how: () => void) =>
    new Promise<void>((resolve) => {
      server.once('error', (error) => {
        failed.push(`${what}: ${error.message}`);
        resolve();
      });
      server.once('listening', () => resolve());
      how();
    });
  const datagrams = (port: number, type: 'udp4' | 'udp6') =>
    new Promise<void>((resolve) => {
      const socket = createSocket({ type, ipv6Only: type === 'udp6', reuseAddr: true });
      socket.on('error', (error) => {
        failed.push(`udp ${port}: ${error.message}`);
        resolve();
      });
      socket.on('message', (message) => say({ kind: 'udp', port, address: '', text: message.toString('latin1').slice(0, 200) }));
      socket.bind(port, type === 'udp4' ? '0.0.0.0' : '::', () => {
        for (const group of groups) if (group.includes(':') === (type === 'udp6')) joinQuietly(() => socket.addMembership(group));
        resolve();
      });
    });
  await Promise.all(
    ports.flatMap((port) => {
      const server = createServer((socket) => serve(socket, port));
      return [opened(server, `tcp ${port}`, () => server.listen(port, '::')), datagrams(port, 'udp4'), datagrams(port, 'udp6')];
    }),
  );
  for (const path of paths) {
    const server = createServer((socket) => serve(socket, 0, path));
    if (!path.startsWith('\0')) rmSync(path, { force: true });
    await opened(server, path, () => server.listen(path));
    if (!path.startsWith('\0')) chmodSync(path, 0o777);
  }
  say({ kind: 'ready', failed });
}

function joinQuietly(join: () => void): void {
  try {
    join();
  } catch {
    // No route for that group here.
  }
}

/** Tries ports that nobody should listen on, `host port` each, as long as they are in the set. */
function dial(wanted: ReadonlySet<string>): void {
  const caller = createSocket('udp4');
  caller.on('error', () => {});
  caller.on('message', (message, from) => {
    if (String(message) === 'caught') say({ kind: 'dialled', port: from.port, address: from.address, text: 'udp' });
  });
  setInterval(() => {
    for (const each of wanted) {
      const [host = '', port = ''] = each.split(' ');
      const socket = connect({ host, port: Number(port) }, () => {
        say({ kind: 'dialled', port: Number(port), address: host, text: 'tcp' });
        socket.destroy();
      });
      socket.on('error', () => {});
      caller.send('anybody?', Number(port), host, () => {});
    }
  }, DIAL_EVERY_MS);
}

function main(plan: WorldPlan): void {
  for (const address of plan.nameServers ?? []) {
    const turns = new Map<string, number>();
    const socket = createSocket('udp4');
    socket.on('error', () => {});
    socket.on('message', (question, from) => {
      const answer = answerName(question, plan.names ?? {}, turns);
      if (answer === undefined) return;
      say({ kind: 'name', port: 53, address, text: answer.name });
      socket.send(answer.bytes, from.port, from.address);
    });
    socket.bind(53, address);
  }
  const wanted = new Set<string>();
  dial(wanted);
  createInterface({ input: process.stdin }).on('line', (line) => {
    const command = JSON.parse(line) as WorldCommand;
    if (command.do === 'listen') void listen(command.ports, command.paths ?? [], plan.groups ?? []);
    else {
      for (const host of command.hosts)
        for (const port of command.ports) command.do === 'dial' ? wanted.add(`${host} ${port}`) : wanted.delete(`${host} ${port}`);
      say({ kind: 'ready', failed: [] });
    }
  });
  process.stdin.on('end', () => process.exit());
  say({ kind: 'ready', failed: [] });
}

main(JSON.parse(process.argv[2] ?? '{}') as WorldPlan);
