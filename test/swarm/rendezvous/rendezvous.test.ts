import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { type WebSocket, WebSocketServer } from 'ws';
import { systemClock } from '../../../src/clock.js';
import type { PeerworkError } from '../../../src/errors.js';
import { nodePrimitives } from '../../../src/swarm/crypto.node.js';
import { Lobby, type LobbyOptions, type Visit } from '../../../src/swarm/rendezvous/lobby.js';
import { type Answer, Seeker, type SeekerOptions } from '../../../src/swarm/rendezvous/seeker.js';
import { openNodeSocket } from '../../../src/swarm/rendezvous/socket.node.js';
import { newPeerId, readTrackerMessage, roleOfPeerId } from '../../../src/swarm/rendezvous/wire.js';
import { chooseTrackers, publicTrackers } from '../../../src/swarm/swarm-settings.js';
import { TrackerServer } from '../../../src/swarm/tracker-server.node.js';
import { until } from '../../lab/until.js';

const { randomBytes } = nodePrimitives;
const shards = [1, 2, 3].map((shard) => new Uint8Array(20).fill(shard * 70));
const base = {
  openSocket: openNodeSocket,
  randomBytes,
  random: Math.random,
  clock: systemClock,
  trackerTimes: { retryFirstMs: 20, retryCapMs: 100, answerMs: 300 },
};
let offers = 0;
const newOffer = () => `v=0 offer ${++offers}\r\na=ice-ufrag:x\r\na=fingerprint:sha-256 00\r\n`;

async function tracker(test: Test, port = 0): Promise<TrackerServer> {
  const server = new TrackerServer();
  await server.start(port);
  test.teardown(() => server.close());
  return server;
}

function lobby(test: Test, trackers: readonly string[], options: Partial<LobbyOptions> & { onVisit?: (visit: Visit) => void } = {}) {
  const visits: Visit[] = [];
  const errors: PeerworkError[] = [];
  const { onVisit = (visit) => visit.answer(`answer to ${visit.sdp}`), ...rest } = options;
  let reach = () => {};
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  const made = new Lobby(
    { ...base, trackers, infoHashes: shards, ...rest },
    {
      reached: () => reach(),
      failed: (error) => errors.push(error),
      offered: (visit) => {
        visits.push(visit);
        onVisit(visit);
      },
    },
  );
  test.teardown(() => made.close());
  made.start();
  return { lobby: made, visits, errors, reached };
}

function seek(test: Test, trackers: readonly string[], shard = 0, options: Partial<SeekerOptions> = {}) {
  const errors: PeerworkError[] = [];
  const answers: Answer[] = [];
  const infoHash = shards[shard] ?? new Uint8Array(20);
  const seeker = new Seeker({ ...base, trackers, infoHash, failed: (error) => errors.push(error), ...options });
  test.teardown(() => seeker.close());
  seeker.start();
  const sdp = newOffer();
  const answered = (async () => {
    const answer = await seeker.offer(sdp);
    if (answer) {
      answers.push(answer);
      seeker.close();
    }
    return answer;
  })();
  return { seeker, sdp, errors, answers, answered };
}

/** A scripted tracker: responds to each announce with what `reply` returns. */
async function fakeTracker(test: Test, reply: (message: Record<string, unknown>, socket: WebSocket) => void): Promise<string> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  server.on('connection', (socket) => {
    socket.on('error', () => {});
    socket.on('message', (data) => reply(JSON.parse(data.toString()) as Record<string, unknown>, socket));
  });
  test.teardown(() => {
    for (const socket of server.clients) socket.terminate();
    server.close();
  });
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

t.test('trackers: the first list that is given, else public ones; only WebSocket URLs', async (test) => {
  test.same(chooseTrackers(), publicTrackers);
  test.same(chooseTrackers(undefined, [], ['ws://a', 'ws://a'], ['ws://b']), ['ws://a']);
  for (const url of ['http://a', 'a', '', 'udp://a:1']) test.throws(() => chooseTrackers([url]), { code: 'option-invalid' });
});

t.test('messages of a tracker that cannot be read or are of another swarm count for nothing', async (test) => {
  const hash = 'h'.repeat(20);
  const worker = newPeerId('worker', randomBytes);
  test.equal(worker.length, 20);
  test.equal(roleOfPeerId(worker), 'worker');
  test.equal(roleOfPeerId(newPeerId('master', randomBytes)), 'master');
  test.equal(roleOfPeerId('-qB4500-xxxxxxxxxxxx'), undefined);
  const offer = { info_hash: hash, peer_id: worker, offer_id: 'o'.repeat(20), offer: { type: 'offer', sdp: 'v=0' } };
  test.match(readTrackerMessage(JSON.stringify(offer), hash), { kind: 'offer', from: worker, sdp: 'v=0' });
  const bad: unknown[] = [
    null,
    [],
    'x',
    {},
    { ...offer, info_hash: 'i'.repeat(20) },
    { ...offer, peer_id: 'short' },
    { ...offer, offer_id: 7 },
    { ...offer, offer: 'v=0' },
    { ...offer, offer: { type: 'answer', sdp: 'v=0' } },
    { ...offer, offer: { type: 'offer', sdp: 7 } },
    { ...offer, offer: { type: 'offer', sdp: 'x'.repeat(20_000) } },
    { ...offer, action: 'scrape' },
    { ...offer, padding: 'x'.repeat(70_000) },
  ];
  for (const message of bad) test.equal(readTrackerMessage(JSON.stringify(message), hash), undefined);
  test.equal(readTrackerMessage('{', hash), undefined);
  test.match(readTrackerMessage(JSON.stringify({ 'failure reason': 'no\u001b[2J' }), hash), { kind: 'refused', reason: 'no [2J' });
  test.match(readTrackerMessage(JSON.stringify({ info_hash: hash, complete: -1, incomplete: 'x' }), hash), { members: 0 });
});

t.test('a worker finds its Master in its shard, whoever came first; an offer makes one visit', async (test) => {
  const server = await tracker(test);
  const early = Array.from({ length: 12 }, (_, index) => seek(test, [server.url], index % 3));
  await until(() => server.peers === 12);
  const master = lobby(test, [server.url]);
  await master.reached;
  await Promise.all(early.map(({ answered }) => answered));
  const late = Array.from({ length: 12 }, (_, index) => seek(test, [server.url], index % 3));
  const found = await Promise.all([...early, ...late].map(async ({ sdp, answered }) => (await answered)?.sdp === `answer to ${sdp}`));
  test.ok(found.every(Boolean), 'each got the answer to its own offer');
  test.equal(master.visits.length, 24, 'copies of an offer are one visit, and nobody else was visited');
  await until(() => server.peers === 3);
  test.pass('workers leave when answered');
});

t.test('workers do not answer each other', async (test) => {
  const server = await tracker(test);
  const workers = Array.from({ length: 5 }, () => seek(test, [server.url], 0, { masterAbsentMs: 100 }));
  await until(() => workers.every(({ errors }) => errors.length > 0));
  test.same(new Set(workers.flatMap(({ errors }) => errors.map(({ code }) => code))), new Set(['master-absent']));
  test.same(
    workers.flatMap(({ answers }) => answers),
    [],
  );
});

t.test('one dead tracker among two does not matter; two dead ones are warning', async (test) => {
  const server = await tracker(test);
  const unreachable = await tracker(test);
  const dead = unreachable.url;
  await unreachable.close();
  const master = lobby(test, [dead, server.url]);
  const worker = seek(test, [dead, server.url], 1);
  test.equal((await worker.answered)?.tracker, server.url);
  test.same(worker.errors, []);
  test.same(master.errors, []);
  const lost = seek(test, [dead]);
  const lonely = lobby(test, [dead]);
  await until(() => lost.errors.length > 1 && lonely.errors.length > 1);
  test.match(lost.errors[0], { code: 'tracker-unreachable', detail: /ECONNREFUSED/ });
  test.match(lonely.errors[0], { code: 'tracker-unreachable', detail: /ECONNREFUSED/ });
});

t.test('both trackers at once: the first answer settles it', async (test) => {
  const servers = [await tracker(test), await tracker(test)];
  const urls = servers.map(({ url }) => url);
  const master = lobby(test, urls);
  await master.reached;
  const worker = seek(test, urls);
  await worker.answered;
  await until(() => servers.every(({ peers }) => peers === 3));
  test.equal(master.visits.length, 1);
  test.equal(worker.answers.length, 1);
});

t.test('a tracker that is killed and restarted is found again by both sides', async (test) => {
  const server = await tracker(test);
  const { port, url } = server;
  const master = lobby(test, [url]);
  await master.reached;
  await server.close();
  const worker = seek(test, [url]);
  await until(() => worker.errors.length > 0 && master.errors.length > 0);
  await tracker(test, port);
  await worker.answered;
  test.equal(master.visits.length, 1);
});

t.test('an announce that is not answered means a dead socket; each new one has a new peer id', async (test) => {
  const ids = new Set<unknown>();
  let announces = 0;
  const url = await fakeTracker(test, (message) => {
    announces++;
    ids.add(message['peer_id']);
  });
  const worker = seek(test, [url], 0, { trackerTimes: { retryFirstMs: 5, answerMs: 30 } });
  await until(() => worker.errors.length >= 3);
  test.match(worker.errors[0], { code: 'tracker-unreachable', detail: /got no response/ });
  test.ok(ids.size >= 3 && ids.size <= announces);
});

t.test('the refusal of a tracker is named', async (test) => {
  const url = await fakeTracker(test, (_message, socket) => socket.send(JSON.stringify({ 'failure reason': 'go away' })));
  const worker = seek(test, [url]);
  const master = lobby(test, [url]);
  await until(() => worker.errors.length > 0 && master.errors.length > 0);
  test.match(worker.errors[0], { code: 'tracker-refused', detail: `${url}: go away` });
  test.match(master.errors[0], { code: 'tracker-refused', detail: `${url}: go away` });
});

t.test('a tracker that floods with junk and offers fills only its share and harms nobody', async (test) => {
  const server = await tracker(test);
  const evil = await fakeTracker(test, (message, socket) => {
    const { info_hash } = message;
    if (message['answer'] !== undefined) return;
    socket.send(JSON.stringify({ action: 'announce', info_hash, complete: 5 }));
    for (let index = 0; index < 1500; index++) {
      socket.send('{"x":');
      const peer_id = newPeerId('worker', randomBytes);
      socket.send(JSON.stringify({ info_hash, peer_id, offer_id: 'o'.repeat(20), offer: { type: 'offer', sdp: newOffer() } }));
    }
  });
  const master = lobby(test, [evil, server.url], {
    maxPending: 8,
    onVisit: (visit) => {
      if (visit.tracker === server.url) visit.answer('answer');
    },
  });
  await until(() => master.visits.length >= 4);
  const worker = seek(test, [server.url]);
  test.equal((await worker.answered)?.sdp, 'answer');
  test.equal(master.visits.filter((visit) => visit.tracker === evil).length, 4, 'half of the places');
  for (const visit of [...master.visits]) visit.end();
});

t.test('an offer whose visitor is in is not answered again; one whose visit ended is', async (test) => {
  const server = await tracker(test);
  const master = lobby(test, [server.url], { onVisit: (visit) => visit.admit() });
  await master.reached;
  const worker = seek(test, [server.url]);
  await until(() => master.visits.length === 1);
  void worker.seeker.offer(worker.sdp);
  test.equal(await worker.answered, undefined, 'an offer that is replaced was not answered');
  await new Promise((resolve) => setTimeout(resolve, 50));
  test.equal(master.visits.length, 1);
  master.visits[0]?.end();
  void worker.seeker.offer(worker.sdp);
  await until(() => master.visits.length === 2);
});

t.test('a Master that knocks without end does not make a worker announce without end', async (test) => {
  let announces = 0;
  let knocks = 0;
  const url = await fakeTracker(test, ({ info_hash }, socket) => {
    announces++;
    socket.send(JSON.stringify({ info_hash, complete: 2 }));
    const timer = setInterval(() => {
      knocks++;
      const peer_id = newPeerId('master', randomBytes);
      socket.send(JSON.stringify({ info_hash, peer_id, offer_id: 'k'.repeat(20), offer: { type: 'offer', sdp: 'v=0' } }));
    }, 1);
    test.teardown(() => clearInterval(timer));
  });
  seek(test, [url]);
  await until(() => knocks > 300);
  test.ok(announces < 20, `${announces} announces`);
});

t.test('a Master whose network went away finds its dead sockets when it looks for them', async (test) => {
  let isDead = false;
  let announces = 0;
  const url = await fakeTracker(test, ({ info_hash }, socket) => {
    announces++;
    if (!isDead) socket.send(JSON.stringify({ info_hash, complete: 1 }));
  });
  const master = lobby(test, [url], { trackerTimes: { answerMs: 30, retryFirstMs: 20, retryCapMs: 20 } });
  await until(() => announces === 3);
  await master.reached;
  isDead = true;
  master.lobby.probe();
  await until(() => master.errors.length > 0);
  test.match(master.errors[0], { code: 'tracker-unreachable', detail: /got no response/ });
});

t.test('the answer that came through a distrusted tracker waits for another', async (test) => {
  const url = await fakeTracker(test, (message, socket) => {
    const { info_hash, offers } = message;
    socket.send(JSON.stringify({ info_hash, complete: 1 }));
    for (const { offer_id } of offers as { offer_id: string }[])
      socket.send(
        JSON.stringify({ info_hash, offer_id, peer_id: newPeerId('master', randomBytes), answer: { type: 'answer', sdp: 'false' } }),
      );
  });
  const server = await tracker(test);
  const master = lobby(test, [server.url]);
  await master.reached;
  const distrusted = new Set([url]);
  const worker = seek(test, [url, server.url], 0, { distrusted });
  test.equal((await worker.answered)?.tracker, server.url);
  const alone = seek(test, [url], 0, { distrusted });
  test.equal((await alone.answered)?.sdp, 'false', 'but it is taken where there is no other');
});
