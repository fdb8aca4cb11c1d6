import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { HelloGate } from '../../../src/swarm/link/hello-gate.node.js';
import { type IceServer, parseIceServers } from '../../../src/swarm/link/ice.js';
import { openNodeIce } from '../../../src/swarm/link/ice.node.js';
import { TurnBridge } from '../../../src/swarm/link/turn-bridge.node.js';
import { TurnStream } from '../../../src/swarm/link/turn-stream.js';
import { seededRandom } from '../../lab/seeded-random.js';

t.test('TURN messages pass through a byte stream, however it is cut', async (t) => {
  const random = seededRandom(7);
  const messages = Array.from({ length: 200 }, (_, at) => (at % 3 === 0 ? stun(random.below(20) * 4) : channelData(random.below(1300))));
  const framed = messages.map((message) => TurnStream.frame(message) ?? new Uint8Array(0));
  t.ok(framed.every((bytes) => bytes.byteLength % 4 === 0));
  const line = Buffer.concat(framed);
  for (const longest of [1, 7, 1500, 65536]) {
    const got: Uint8Array[] = [];
    const stream = new TurnStream((message) => got.push(message.slice()));
    for (let at = 0; at < line.byteLength; ) {
      const next = Math.min(line.byteLength, at + 1 + random.below(longest));
      if (!stream.push(line.subarray(at, next))) t.fail('refused');
      at = next;
    }
    t.ok(
      got.length === messages.length && got.every((message, at) => Buffer.compare(message, messages[at] ?? message) === 0),
      `in pieces of up to ${longest}`,
    );
  }
});

t.test('what is not TURN is not taken', async (t) => {
  for (const datagram of [
    new Uint8Array(0),
    Uint8Array.of(0),
    Uint8Array.of(0x16, 3, 1, 0, 200),
    channelData(10).subarray(0, 9),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  ])
    t.equal(TurnStream.frame(datagram), undefined);
  const wrongCookie = stun(8);
  wrongCookie[5] = 0;
  t.equal(new TurnStream(() => t.fail('delivered')).push(wrongCookie), false);
  t.equal(new TurnStream(() => t.fail('delivered')).push(Buffer.from('SSH-2.0-OpenSSH\r\n')), false);
});

t.test('the bridge gives each sender its own connection, and a new one after that is lost', async (t) => {
  const server = await turnServer(t);
  const bridge = new TurnBridge(tcpServer(server));
  t.teardown(() => bridge.close());
  const port = await bridge.port;
  const [one, two] = [await client(t), await client(t)];
  t.strictSame([...(await one.ask(port, channelData(5)))], [...channelData(5)], 'padding does not arrive');
  t.strictSame([...(await two.ask(port, stun(12)))], [...stun(12)]);
  t.equal(server.sockets.length, 2);
  one.socket.send(Buffer.from('not TURN'), port, '127.0.0.1');
  await one.ask(port, channelData(1200));
  t.equal(server.sockets.length, 2, 'the same connection still');
  server.sockets[0]?.destroy();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await one.ask(port, channelData(7));
  t.equal(server.sockets.length, 3, 'a new connection');
  bridge.close();
  await Promise.all(server.sockets.map((socket) => socket.destroyed || new Promise((resolve) => socket.once('close', resolve))));
  t.pass('closing the bridge closes its connections');
});

t.test('of several STUN servers, one that answers is used', async (t) => {
  const [dead, alive] = [await udpServer(t, false), await udpServer(t, true)];
  const ice = openNodeIce(parseIceServers([`stun:127.0.0.1:${dead}`, `stun:127.0.0.1:${alive}`]));
  t.teardown(() => ice.close());
  t.strictSame(await ice.servers(), [{ urls: `stun:127.0.0.1:${alive}` }]);
});

t.test('UDP works: TURN goes over UDP, or over TCP if only that is there', async (t) => {
  const alive = await udpServer(t, true);
  const turn = await turnServer(t);
  const ice = openNodeIce(parseIceServers([`stun:127.0.0.1:${alive}`, `turn:me:pass@127.0.0.1:${alive}`, tcpUrl(turn)]));
  const only = openNodeIce(parseIceServers([`stun:127.0.0.1:${alive}`, tcpUrl(turn)]));
  t.teardown(() => [ice.close(), only.close()]);
  const [, overUdp, ...rest] = urls(await ice.servers());
  t.strictSame(rest, []);
  const asked = client(t).then(({ ask }) => ask(Number(/:(\d+)\?/.exec(String(overUdp))?.[1]), stun(0)));
  t.equal((await asked).length, 20, 'it is the server over UDP that answers behind the bridge');
  t.equal(turn.sockets.length, 0);
  const [stunUrl, bridged, ...more] = urls(await only.servers());
  t.equal(stunUrl, `stun:127.0.0.1:${alive}`);
  t.match(bridged, /^turn:127\.0\.0\.1:\d+\?transport=udp$/);
  t.strictSame(more, []);
});

t.test('UDP is blocked: only the bridge, and a server that takes connections first', async (t) => {
  const dead = await udpServer(t, false);
  const turn = await turnServer(t);
  const refused = await turnServer(t);
  await refused.close();
  const ice = openNodeIce(parseIceServers([`stun:127.0.0.1:${dead}`, `turn:me:pass@127.0.0.1:${dead}`, tcpUrl(refused), tcpUrl(turn)]));
  t.teardown(() => ice.close());
  const [first, ...others] = await ice.servers();
  t.equal(others.length, 1);
  t.match(first, { username: 'me', credential: 'pass' });
  const { ask } = await client(t);
  await ask(Number(/:(\d+)\?/.exec(String(first?.urls))?.[1]), channelData(3));
  t.equal(turn.sockets.length, 2, 'the probe, and the bridge');
});

t.test('a ClientHello that comes through the relay waits until ICE is connected; nothing else does', async (t) => {
  const gate = new HelloGate();
  const delivered: string[] = [];
  const pass = (port: number, message: Uint8Array, name: string) => gate.pass(port, message, () => delivered.push(name));
  const hello = Uint8Array.of(22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 1, 0, 0, 88);
  const inChannel = Buffer.concat([channelData(0), hello]);
  const inIndication = Buffer.concat([stun(0), Buffer.from([0x80, 0x22, 0, 1, 7, 0, 0, 0, 0, 0x13, 0, hello.length]), hello]);
  inIndication.writeUInt16BE(0x0017, 0);
  pass(1, stun(8), 'check');
  pass(1, inChannel, 'hello');
  pass(2, inIndication, 'other hello');
  pass(1, channelData(30), 'data');
  t.strictSame(delivered.splice(0), ['check', 'data']);
  pass(1, inIndication, 'hello again');
  gate.open(1);
  t.strictSame(delivered.splice(0), ['hello again'], 'the last one, and only that of this connection');
  pass(1, inChannel, 'late');
  t.strictSame(delivered.splice(0), ['late']);
  gate.forget(1);
  pass(1, inChannel, 'next connection on this port');
  t.strictSame(delivered, []);
  for (const cut of [0, 3, 5, 16]) pass(3, inChannel.subarray(0, cut), 'cut');
  for (const cut of [19, 22, 33, 40]) pass(3, inIndication.subarray(0, cut), 'cut');
  t.equal(delivered.length, 8, 'what is cut short is none');
});

t.test('closing in the middle of the probe ends it', async (t) => {
  const dead = await udpServer(t, false);
  const ice = openNodeIce(parseIceServers([`stun:127.0.0.1:${dead}`, 'turns:me:pass@127.0.0.1:9']));
  const asked = ice.servers();
  ice.close();
  t.strictSame(await asked, []);
});

function stun(bodyBytes: number): Uint8Array {
  const message = new Uint8Array(20 + bodyBytes).fill(0x5a, 20);
  const view = new DataView(message.buffer);
  view.setUint16(0, 0x0003);
  view.setUint16(2, bodyBytes);
  view.setUint32(4, 0x2112a442);
  return message;
}

function channelData(bodyBytes: number): Uint8Array {
  const message = new Uint8Array(4 + bodyBytes).fill(0xa5, 4);
  const view = new DataView(message.buffer);
  view.setUint16(0, 0x4001);
  view.setUint16(2, bodyBytes);
  return message;
}

function urls(servers: readonly RTCIceServer[]): string[] {
  return servers.flatMap((server) => server.urls);
}

interface EchoServer {
  readonly port: number;
  readonly sockets: Socket[];
  close(): Promise<void>;
}

/** Echoes whatever it receives, with the framing of TURN over TCP. */
async function turnServer(t: Test): Promise<EchoServer> {
  const sockets: Socket[] = [];
  const server: Server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    for (const socket of sockets) socket.destroy();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  };
  t.teardown(close);
  return { port: (server.address() as { port: number }).port, sockets, close };
}

function tcpUrl(server: EchoServer): string {
  return `turn:me:pass@127.0.0.1:${server.port}?transport=tcp`;
}

function tcpServer(server: EchoServer): IceServer {
  return { kind: 'turn', transport: 'tcp', host: '127.0.0.1', port: server.port, username: 'me', credential: 'pass' };
}

/** Opens a UDP port that replies to STUN binding requests, or one that does not. */
async function udpServer(t: Test, answers: boolean): Promise<number> {
  const socket = await boundSocket(t);
  socket.on('message', (request, sender) => {
    if (!answers || request.length !== 20) return;
    const response = Buffer.from(request);
    response.writeUInt16BE(0x0101, 0);
    socket.send(response, sender.port, sender.address);
  });
  return socket.address().port;
}

async function client(t: Test): Promise<{ socket: UdpSocket; ask(port: number, message: Uint8Array): Promise<Uint8Array> }> {
  const socket = await boundSocket(t);
  return {
    socket,
    ask: (port, message) =>
      new Promise((resolve) => {
        socket.once('message', resolve);
        socket.send(message, port, '127.0.0.1');
      }),
  };
}

async function boundSocket(t: Test): Promise<UdpSocket> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  t.teardown(() => socket.close());
  return socket;
}
