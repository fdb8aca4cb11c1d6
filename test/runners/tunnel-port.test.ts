import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { PeerworkError } from '../../src/errors.js';
import type { Tunnel } from '../../src/job/source.js';
import { openTunnelPort } from '../../src/runners/tunnel-port.js';
import { until } from '../lab/until.js';

/** Starts a server, and a tunnel that leads to it without a link. */
async function serverFor(t: Test, serve: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    serve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const tunnel: Tunnel = {
    async open(signal) {
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, signal });
      socket.on('error', () => {});
      await once(socket, 'connect');
      return socket;
    },
  };
  return { sockets, tunnel };
}

async function textOf(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (bytes) => {
    text += bytes;
  });
  await once(socket, 'end');
  return text;
}

t.test('a port for as long as a run lives', async (t) => {
  const { sockets, tunnel } = await serverFor(t, (socket) => socket.pipe(socket));
  const port = await openTunnelPort(tunnel);
  t.equal(port.host, '127.0.0.1');
  const clients = Array.from({ length: 5 }, () => connect(port.port, port.host).on('error', () => {}));
  const echoed = await Promise.all(
    clients.map(async (client, n) => {
      client.write(`hello ${n}`);
      return String((await once(client, 'data'))[0]);
    }),
  );
  t.same(echoed, ['hello 0', 'hello 1', 'hello 2', 'hello 3', 'hello 4']);
  clients[0]?.destroy();
  await until(() => sockets.size === 4);
  const gone = clients.slice(1).map((client) => new Promise((resolve) => client.on('close', resolve)));
  await port.close();
  await Promise.all(gone);
  await until(() => sockets.size === 0);
  const late = connect(port.port, port.host);
  await t.rejects(once(late, 'connect'), { code: 'ECONNREFUSED' });
});

t.test('each direction to its own end', async (t) => {
  const received: Promise<string>[] = [];
  const afterwards = await serverFor(t, async (socket) => {
    const text = await textOf(socket);
    socket.end(`${text.length} characters`);
  });
  const first = await openTunnelPort(afterwards.tunnel);
  t.teardown(() => first.close());
  const asking = connect({ port: first.port, host: first.host, allowHalfOpen: true });
  asking.end('x'.repeat(3_000_000));
  t.equal(await textOf(asking), '3000000 characters', 'the program ends first');

  const atOnce = await serverFor(t, (socket) => {
    socket.end('goodbye');
    received.push(textOf(socket));
  });
  const second = await openTunnelPort(atOnce.tunnel);
  t.teardown(() => second.close());
  const answering = connect({ port: second.port, host: second.host, allowHalfOpen: true });
  t.equal((await once(answering, 'data')).join(), 'goodbye');
  await once(answering, 'end');
  answering.end('y'.repeat(3_000_000));
  t.equal((await received[0])?.length, 3_000_000, 'the server ends first');
  await until(() => afterwards.sockets.size === 0 && atOnce.sockets.size === 0);
});

t.test('a unix socket', async (t) => {
  const { tunnel } = await serverFor(t, (socket) => socket.pipe(socket));
  const path = join(t.testdir(), 'tunnel.sock');
  const port = await openTunnelPort(tunnel, { path });
  const client = connect(path);
  client.write('hello');
  t.equal(String((await once(client, 'data'))[0]), 'hello');
  client.destroy();
  await port.close();
  t.notOk(existsSync(path));
  await t.rejects(openTunnelPort(tunnel, { path: join(t.testdirName, 'no', 'such', 'folder') }), { code: 'EACCES' });
});

t.test('a tunnel that does not open, or breaks', async (t) => {
  const reported: string[] = [];
  const onError = ({ code }: PeerworkError) => reported.push(code);
  const refused = await openTunnelPort({ open: () => Promise.reject(new PeerworkError('tunnel-unreachable', 'redis')) }, { onError });
  t.teardown(() => refused.close());
  const client = connect(refused.port, refused.host).on('error', () => {});
  await new Promise((resolve) => client.on('close', resolve));
  t.same(reported.splice(0), ['tunnel-unreachable']);

  const { sockets, tunnel } = await serverFor(t, (socket) => socket.pipe(socket));
  const port = await openTunnelPort(tunnel, { onError });
  t.teardown(() => port.close());
  const broken = connect(port.port, port.host).on('error', () => {});
  broken.write('hello');
  await once(broken, 'data');
  for (const socket of sockets) socket.resetAndDestroy();
  await new Promise((resolve) => broken.on('close', resolve));
  t.same(reported, ['tunnel-broken']);

  let given: AbortSignal | undefined;
  const slow = await openTunnelPort({
    open: (signal) =>
      new Promise((_, reject) => {
        given = signal;
        signal.addEventListener('abort', () => reject(new PeerworkError('rpc-cancelled')));
      }),
  });
  const waiting = connect(slow.port, slow.host).on('error', () => {});
  await until(() => given !== undefined);
  const gone = new Promise((resolve) => waiting.on('close', resolve));
  await slow.close();
  t.ok(given?.aborted);
  await gone;
});
