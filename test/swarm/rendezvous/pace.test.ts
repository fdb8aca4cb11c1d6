import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Server from 'bittorrent-tracker/server.js';
import t, { type Test } from 'tap';
import { systemClock } from '../../../src/clock.js';
import { PeerworkError } from '../../../src/errors.js';
import { nodePrimitives } from '../../../src/swarm/crypto.node.js';
import { Lobby } from '../../../src/swarm/rendezvous/lobby.js';
import { Seeker, type SeekerOptions } from '../../../src/swarm/rendezvous/seeker.js';
import type { OpenSocket, SocketEnd } from '../../../src/swarm/rendezvous/socket.js';
import { openNodeSocket } from '../../../src/swarm/rendezvous/socket.node.js';
import { retryAfterMs, TrackerPace } from '../../../src/swarm/rendezvous/tracker-pace.js';
import { newPeerId, readTrackerMessage } from '../../../src/swarm/rendezvous/wire.js';
import { until } from '../../lab/until.js';
import { makeToken, startMaster, startTracker, startWorker } from '../grid.js';
import { ManualClock } from '../manual-clock.js';

const { randomBytes } = nodePrimitives;
const DAY_MS = 86_400_000;
/** Overhead of WebSocket, TLS, TCP and IP per message, with its acknowledgement. */
const ENVELOPE_BYTES = 150;
/** Cost of opening a connection with TLS. */
const CONNECT_BYTES = 6_000;
const sdp = `v=0\r\na=ice-ufrag:x\r\na=fingerprint:sha-256 00\r\n${'a=candidate:x\r\n'.repeat(100)}`;

interface Announce {
  readonly at: number;
  readonly offers: number;
}

/** A tracker in memory, which counts what membership costs a peer. */
function scriptedTracker(
  clock: ManualClock,
  script: { readonly interval?: number; readonly end?: SocketEnd; readonly closesAfterMs?: number },
) {
  const seen = { bytes: 0, sockets: 0, announces: [] as Announce[] };
  const openSocket: OpenSocket = (_url, listener) => {
    seen.sockets += 1;
    seen.bytes += CONNECT_BYTES;
    let isOpen = true;
    const { end, interval, closesAfterMs } = script;
    const later = (action: () => void) => clock.after(1, () => isOpen && action());
    later(() => (end ? listener.closed('HTTP 429', end) : listener.opened()));
    if (closesAfterMs !== undefined) clock.after(closesAfterMs, () => isOpen && listener.closed('gone'));
    return {
      send: (text) => {
        const message = JSON.parse(text) as { info_hash: string; offers: { offer_id: string; offer: unknown }[] };
        const back = [
          { info_hash: message.info_hash, complete: 0, incomplete: 2, ...(interval !== undefined && { interval }) },
          // Reflect as many offers from other peers.
          ...message.offers.map((offer) => ({ info_hash: message.info_hash, peer_id: newPeerId('worker', randomBytes), ...offer })),
        ].map((each) => JSON.stringify(each));
        seen.announces.push({ at: clock.now(), offers: message.offers.length });
        for (const each of [text, ...back]) seen.bytes += each.length + ENVELOPE_BYTES;
        later(() => {
          for (const each of back) listener.message(each);
        });
      },
      close: () => {
        isOpen = false;
      },
    };
  };
  return { seen, openSocket };
}

const basics = (clock: ManualClock, openSocket: OpenSocket) => ({
  trackers: ['wss://a'],
  openSocket,
  randomBytes,
  random: () => 0.5,
  clock,
});

/** Seeks as a Worker does, with a new offer every 40 s while one is worthwhile. */
function startSeeker(test: Test, clock: ManualClock, openSocket: OpenSocket, more: Partial<SeekerOptions> = {}) {
  const ending = new AbortController();
  const seeker = new Seeker({ ...basics(clock, openSocket), infoHash: new Uint8Array(20), failed: () => {}, ...more });
  test.teardown(() => {
    ending.abort();
    seeker.close();
  });
  seeker.start();
  const run = async () => {
    for (;;) {
      await seeker.untilWorthwhile(ending.signal);
      if (ending.signal.aborted) return;
      clock.after(40_000, () => seeker.withdraw());
      await seeker.offer(sdp);
    }
  };
  void run();
}

for (const interval of [undefined, 20, 120, 1_800]) {
  t.test(`a worker without a Master costs a tracker little a day: interval ${interval}`, async (test) => {
    const clock = new ManualClock();
    const startedAt = clock.now();
    const { seen, openSocket } = scriptedTracker(clock, interval === undefined ? {} : { interval });
    startSeeker(test, clock, openSocket);
    await clock.pass(DAY_MS);
    const megabytes = seen.bytes / 1e6;
    test.comment(`${megabytes.toFixed(2)} MB, ${seen.announces.length} announces`);
    test.ok(megabytes < 5, `${megabytes} MB`);
    const early = seen.announces.filter(({ at }) => at - startedAt < 60_000);
    test.ok(early.length >= 8, 'at first it is quick');
    const quiet = seen.announces.filter(({ at, offers }) => at - startedAt > 120_000 && offers === 0);
    const gaps = quiet.slice(1).map(({ at }, index) => at - (quiet[index]?.at ?? 0));
    test.ok(Math.min(...gaps) >= Math.max(30, interval ?? 120) * 1_000, 'then no quicker than it is asked to');
  });
}

t.test('a tracker that refuses is left alone, for as long as it says', async (test) => {
  for (const [what, script, most] of [
    ['Retry-After of 30 min', { end: { refused: true, retryAfterMs: 1_800_000 } }, 50],
    ['a refusal alone', { end: { refused: true } }, 320],
    ['one that ends what it opened', { closesAfterMs: 100 }, 320],
  ] as const) {
    const clock = new ManualClock();
    const { seen, openSocket } = scriptedTracker(clock, script);
    startSeeker(test, clock, openSocket);
    await clock.pass(DAY_MS);
    test.ok(seen.sockets > 10 && seen.sockets <= most, `${what}: ${seen.sockets} sockets`);
    test.ok(seen.bytes < 5e6, `${what}: ${seen.bytes} bytes`);
  }
});

t.test('what a tracker asked of one socket holds for all of a swarm, and for the next search', async (test) => {
  const clock = new ManualClock();
  const { seen, openSocket } = scriptedTracker(clock, { end: { refused: true, retryAfterMs: 600_000 } });
  const infoHashes = Array.from({ length: 8 }, (_, index) => new Uint8Array(20).fill(index));
  const lobby = new Lobby({ ...basics(clock, openSocket), infoHashes }, { reached: () => {}, failed: () => {}, offered: () => {} });
  test.teardown(() => lobby.close());
  lobby.start();
  await clock.pass(590_000);
  test.equal(seen.sockets, 8);

  const pace = new TrackerPace(clock);
  pace.hold('wss://a', 600_000);
  const errors: PeerworkError[] = [];
  const another = scriptedTracker(clock, {});
  startSeeker(test, clock, another.openSocket, { pace, failed: (error) => errors.push(error) });
  await clock.pass(590_000);
  test.equal(another.seen.sockets, 0);
  test.match(errors[0], { code: 'tracker-refused', detail: /600 s/ });
  await clock.pass(60_000);
  test.equal(another.seen.sockets, 1);
});

t.test('a Master that waits with nobody announces as often as it is asked to', async (test) => {
  const clock = new ManualClock();
  const { seen, openSocket } = scriptedTracker(clock, { interval: 300 });
  const lobby = new Lobby(
    { ...basics(clock, openSocket), infoHashes: [new Uint8Array(20)] },
    { reached: () => {}, failed: () => {}, offered: () => {} },
  );
  test.teardown(() => lobby.close());
  lobby.start();
  await clock.pass(DAY_MS);
  test.ok(seen.announces.length < 350, `${seen.announces.length} announces, though the tracker goes on to count one that never comes`);
});

t.test('when to come again is read as it is written', async (test) => {
  test.equal(retryAfterMs('120', 0), 120_000);
  test.equal(retryAfterMs('Thu, 01 Jan 1970 00:01:00 GMT', 10_000), 50_000);
  test.equal(retryAfterMs('Thu, 01 Jan 1970 00:01:00 GMT', 90_000), 0);
  test.equal(retryAfterMs('soon', 0), undefined);
  test.equal(retryAfterMs(undefined, 0), undefined);
  const hash = 'h'.repeat(20);
  const refused = (retry: unknown) => readTrackerMessage(JSON.stringify({ 'failure reason': 'no', 'retry in': retry }), hash);
  test.match(refused('5'), { kind: 'refused', retryAfterMs: 300_000 });
  test.match(refused('never'), { retryAfterMs: Number.MAX_SAFE_INTEGER });
  test.match(refused({}), { kind: 'refused', retryAfterMs: undefined });
  const announced = (more: object) => readTrackerMessage(JSON.stringify({ info_hash: hash, ...more }), hash);
  test.match(announced({ interval: 60, 'min interval': 90 }), { intervalMs: 90_000 });
  test.match(announced({ interval: -1 }), { intervalMs: undefined });
});

t.test('a refusal by HTTP is told from a server that is not there', async (test) => {
  const server = createServer((_request, response) => response.end());
  server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 429 Too Many Requests\r\nRetry-After: 77\r\nConnection: close\r\n\r\n'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const ended = () =>
    new Promise<{ reason: string; end: SocketEnd | undefined }>((resolve) => {
      const closed = (reason: string, end?: SocketEnd) => resolve({ reason, end });
      openNodeSocket(`ws://127.0.0.1:${port}`, { opened: () => {}, message: () => {}, closed }, { maxMessageBytes: 1_000 });
    });
  test.strictSame(await ended(), { reason: 'HTTP 429', end: { refused: true, retryAfterMs: 77_000 } });
  server.close();
  await once(server, 'close');
  test.match(await ended(), { reason: /ECONNREFUSED/, end: { refused: false } });
});

for (const kind of ['our tracker', 'the stock tracker']) {
  t.test(`a Master that comes back after long is joined at its knock: ${kind}`, async (test) => {
    const url = kind === 'our tracker' ? (await startTracker(test)).url : await stockTracker(test);
    const { token, identity } = makeToken([url]);
    const times = { quietAfterMs: 100, offerMs: 4_000, masterAbsentMs: 50 };
    const workers = Array.from({ length: 12 }, () => startWorker(test, { token, times }));
    await until(() => workers.every(({ warnings }) => warnings.length > 0));
    // By then the first offers have been withdrawn.
    await new Promise((resolve) => systemClock.after(5_000, () => resolve(undefined)));
    const cameAt = performance.now();
    const master = startMaster(test, { token, identity });
    // Without a knock the next offer would be made after four minutes at the earliest.
    await until(() => master.swarm.peers.size === workers.length);
    test.comment(`all joined ${Math.round(performance.now() - cameAt)} ms after the Master came`);
    await Promise.all([...workers, master].map(({ swarm }) => swarm.close()));
  });
}

t.test('a busy Master is not called absent', async (test) => {
  const { url } = await startTracker(test);
  const infoHash = new Uint8Array(20);
  const base = { trackers: [url], openSocket: openNodeSocket, randomBytes, random: Math.random, clock: systemClock };
  let reached = () => {};
  const isThere = new Promise<void>((resolve) => {
    reached = resolve;
  });
  const lobby = new Lobby(
    { ...base, infoHashes: [infoHash], maxPending: 1 },
    // Accepts one offer, and never gets to answer it.
    { reached: () => reached(), failed: () => {}, offered: () => {} },
  );
  test.teardown(() => lobby.close());
  lobby.start();
  await isThere;
  const errors: PeerworkError[][] = [];
  for (let index = 0; index < 5; index++) {
    const own: PeerworkError[] = [];
    errors.push(own);
    const seeker = new Seeker({ ...base, infoHash, masterAbsentMs: 500, failed: (error) => own.push(error) });
    test.teardown(() => seeker.close());
    seeker.start();
    void seeker.offer(`${sdp}a=${index}\r\n`);
  }
  await until(() => errors.every((own) => own.length > 1));
  test.same(new Set(errors.flat().map(({ code }) => code)), new Set(['master-busy']));
  test.match(new PeerworkError('master-busy').hint, /^No action needed/);
});

/** Starts the server of the bittorrent-tracker package in its usual configuration. */
async function stockTracker(test: Test): Promise<string> {
  const server = new Server({ http: false, udp: false, ws: true, stats: false, peersCacheLength: 1_000 }) as Server & {
    listen(port: number, host: string, done: () => void): void;
    ws: { address(): AddressInfo };
  };
  server.on('warning', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  test.teardown(() => server.close());
  return `ws://127.0.0.1:${server.ws.address().port}`;
}
