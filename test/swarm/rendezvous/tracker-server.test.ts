import { once } from 'node:events';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { TrackerServer, type TrackerServerOptions } from '../../../src/swarm/tracker-server.node.js';
import { until } from '../../lab/until.js';

type Message = Record<string, unknown>;

const infoHash = 'h'.repeat(20);
const peerId = (letter: string) => `-W1-${letter.repeat(16)}`;
const offer = (letter: string) => ({ offer_id: letter.repeat(20), offer: { type: 'offer', sdp: 'v=0' } });

async function serve(test: Test, options?: TrackerServerOptions): Promise<TrackerServer> {
  const server = new TrackerServer(options);
  await server.start();
  test.teardown(() => server.close());
  return server;
}

async function connect(test: Test, url: string) {
  const socket = new WebSocket(url);
  test.teardown(() => socket.terminate());
  const waiting: ((message: Message) => void)[] = [];
  const received: Message[] = [];
  socket.on('message', (data) => {
    const message = JSON.parse(data.toString()) as Message;
    const next = waiting.shift();
    if (next) next(message);
    else received.push(message);
  });
  socket.on('error', () => {});
  await once(socket, 'open');
  return {
    socket,
    say: (message: unknown) => socket.send(typeof message === 'string' ? message : JSON.stringify(message)),
    hear: () =>
      new Promise<Message>((resolve) => {
        const message = received.shift();
        if (message) resolve(message);
        else waiting.push(resolve);
      }),
  };
}

t.test('hands an offer to the other member and the answer back', async (test) => {
  const server = await serve(test);
  const a = await connect(test, server.url);
  const b = await connect(test, server.url);
  a.say({ action: 'announce', info_hash: infoHash, peer_id: peerId('a'), event: 'started' });
  test.match(await a.hear(), { action: 'announce', info_hash: infoHash, incomplete: 1 });
  b.say({ action: 'announce', info_hash: infoHash, peer_id: peerId('b'), offers: [offer('x'), offer('y')] });
  test.match(await b.hear(), { incomplete: 2 });
  test.match(await a.hear(), { offer: { type: 'offer', sdp: 'v=0' }, peer_id: peerId('b') });
  a.say({
    action: 'announce',
    info_hash: infoHash,
    peer_id: peerId('a'),
    to_peer_id: peerId('b'),
    offer_id: 'x'.repeat(20),
    answer: { type: 'answer', sdp: 'v=0 answer' },
  });
  test.match(await b.hear(), { answer: { sdp: 'v=0 answer' }, peer_id: peerId('a'), offer_id: 'x'.repeat(20) });
  test.equal(server.peers, 2);
});

t.test('refuses what would harm it, and lives on', async (test) => {
  const server = await serve(test);
  const victim = await connect(test, server.url);
  victim.say({ action: 'announce', info_hash: infoHash, peer_id: peerId('v') });
  await victim.hear();
  const announce = { action: 'announce', info_hash: infoHash, peer_id: peerId('e') };
  const evil = [
    'x',
    'null',
    '[]',
    '7',
    {},
    { action: 'scrape' },
    { action: 'scrape', info_hash: 7 },
    { ...announce, info_hash: ['h'.repeat(20)] },
    { ...announce, info_hash: 'short' },
    { ...announce, peer_id: { length: 20 } },
    { ...announce, event: 'toString' },
    { ...announce, offers: [null] },
    { ...announce, offers: { length: 5 } },
    { ...announce, offers: [{ offer_id: 'x'.repeat(20) }] },
    { ...announce, offers: Array.from({ length: 83 }, () => offer('x')) },
    { ...announce, answer: {} },
    { ...announce, answer: { type: 'answer', sdp: '' }, to_peer_id: 5 },
  ];
  for (const message of evil) {
    const peer = await connect(test, server.url);
    peer.say(message);
    test.type((await peer.hear())['failure reason'], 'string', JSON.stringify(message).slice(0, 60));
    peer.socket.terminate();
  }
  const thief = await connect(test, server.url);
  thief.say(announce);
  await thief.hear();
  thief.say({ ...announce, peer_id: peerId('v'), event: 'stopped' });
  test.match(await thief.hear(), { 'failure reason': /another peer_id/ }, 'nobody can sign off another peer');
  victim.say({ action: 'announce', info_hash: infoHash, peer_id: peerId('v') });
  test.match(await victim.hear(), { incomplete: 2 });

  const large = await connect(test, server.url);
  large.say('x'.repeat(300 * 1024));
  await once(large.socket, 'close');
  const loud = await connect(test, server.url);
  for (let index = 0; index < 600; index++) loud.say('{}');
  await once(loud.socket, 'close');
});

t.test('ends a socket that does not answer pings, and forgets empty swarms', async (test) => {
  const server = await serve(test, { pingMs: 50 });
  const dead = await connect(test, server.url);
  dead.say({ action: 'announce', info_hash: infoHash, peer_id: peerId('d') });
  await dead.hear();
  const alive = await connect(test, server.url);
  alive.say({ action: 'announce', info_hash: 'i'.repeat(20), peer_id: peerId('l') });
  await alive.hear();
  test.equal(server.peers, 2);
  dead.socket.pause();
  await until(() => server.peers <= 1);
  alive.say({ action: 'announce', info_hash: infoHash, peer_id: peerId('l') });
  test.match(await alive.hear(), { incomplete: 1 });
});

t.test('turns away more sockets than it may hold; a taken port is an error', async (test) => {
  const server = await serve(test, { maxSockets: 1 });
  await connect(test, server.url);
  const second = new WebSocket(server.url);
  const [code] = await once(second, 'close');
  test.equal(code, 1013);
  const other = new TrackerServer();
  await test.rejects(other.start(server.port), { code: 'EADDRINUSE' });
  await other.close();
});
