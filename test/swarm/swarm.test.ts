import { fork } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { systemClock } from '../../src/clock.js';
import { toBase64url, toHex } from '../../src/swarm/bytes.js';
import { createKeyPair, identityId } from '../../src/swarm/identity.js';
import { answerOffer, createOffer, type OutgoingAttempt } from '../../src/swarm/link/dial.js';
import { plainIce } from '../../src/swarm/link/ice.js';
import { openConnections } from '../../src/swarm/link/webrtc.node.js';
import type { Link } from '../../src/swarm/link.js';
import { createToken, formatToken } from '../../src/swarm/token.js';
import { until } from '../lab/until.js';
import { countingPlatform, makeToken, platform, primitives, startMaster, startTracker, startWorker } from './grid.js';
import { startTrackerProxy, withSdp } from './tracker-proxy.js';

const quick = { retryFirstMs: 20, retryCapMs: 200, connectMs: 2000, masterAbsentMs: 300, refusedMs: 100 };

t.test('a worker and its Master find each other, know who the other is, and leave nothing behind', async (test) => {
  const tracker = await startTracker(test);
  const { token, identity } = makeToken([tracker.url]);
  const master = startMaster(test, { token: formatToken(token), identity });
  await master.swarm.ready;
  const workerKeys = createKeyPair(primitives);
  const worker = startWorker(test, { token: formatToken(token), identity: workerKeys });
  await until(() => worker.connected.length === 1 && master.connected.length === 1);
  test.match(worker.connected[0], { id: identityId(identity.publicKey), name: 'the master', role: 'master', path: 'direct' });
  test.comment(`connected after ${worker.connected[0]?.connectMs} ms`);
  test.match(master.connected[0], { id: identityId(workerKeys.publicKey), name: 'a worker', role: 'worker' });
  test.same([...master.swarm.peers.keys()], [identityId(workerKeys.publicKey)]);
  await until(() => tracker.peers === 8);
  test.pass('a connected worker has left the tracker');
  await worker.swarm.close();
  await until(() => master.disconnected.length === 1);
  test.equal(master.swarm.peers.size, 0);
  await master.swarm.close();
  await until(() => tracker.peers === 0 && openConnections() === 0);
  test.same(
    [...worker.warnings, ...master.warnings].map(({ message }) => message),
    [],
  );
});

for (const first of ['master', 'workers']) {
  t.test(`50 workers connect when the ${first} came first, as a star`, async (test) => {
    const tracker = await startTracker(test);
    const { token, identity } = makeToken([tracker.url]);
    const mine = countingPlatform();
    const theirs = countingPlatform();
    const enter = async () => {
      const master = startMaster(test, { token, identity, platform: mine.platform });
      await master.swarm.ready;
      return master;
    };
    const early = first === 'master' ? await enter() : undefined;
    if (early) await until(() => tracker.peers === 8);
    let startedAt = performance.now();
    const workers = Array.from({ length: 50 }, () => startWorker(test, { token, platform: theirs.platform }));
    if (!early) {
      await until(() => tracker.peers === 50);
      startedAt = performance.now();
    }
    const master = early ?? (await enter());
    await until(() => workers.every(({ swarm }) => swarm.peers.size === 1) && master.swarm.peers.size === 50);
    test.comment(`all connected after ${Math.round(performance.now() - startedAt)} ms`);
    const made = [mine.made.connections, theirs.made.connections];
    test.comment(`PeerConnections: ${made[0]} of the Master, ${made[1]} of the workers`);
    for (const count of made) test.ok(count >= 50 && count < 75, 'one for each worker, and few for second attempts');
    await until(() => openConnections() === 100);
    test.pass('no connection between workers');
    await Promise.all(workers.map(({ swarm }) => swarm.close()));
  });
}

t.test('both sides can call from the first moment, and hear nothing before they know who speaks', async (test) => {
  const tracker = await startTracker(test);
  const { token, identity } = makeToken([tracker.url]);
  const events: string[] = [];
  const master = startMaster(test, {
    token,
    identity,
    accept: (peer) => ({ calls: { hello: (from) => `${String(from)} is ${peer.name}, ${master.swarm.peers.has(peer.id)}` } }),
  });
  const worker = startWorker(test, { token, accept: () => ({ notes: { welcome: (text) => events.push(String(text)) } }) });
  master.swarm.on('connected', ({ rpc }) => rpc.notify('welcome', 'here'));
  const answer = new Promise((resolve) => worker.swarm.on('connected', ({ rpc }) => resolve(rpc.call('hello', 'this'))));
  test.equal(await answer, 'this is a worker, true');
  await until(() => events.length === 1);
});

t.test('one tracker of two is dead, or is killed and comes back', async (test) => {
  const gone = await startTracker(test);
  const dead = gone.url;
  await gone.close();
  const tracker = await startTracker(test);
  const { port } = tracker;
  const { token, identity } = makeToken([dead, tracker.url]);
  const master = startMaster(test, { token, identity, times: quick });
  const one = startWorker(test, { token, times: quick });
  await until(() => one.swarm.peers.size === 1);
  await tracker.close();
  const two = startWorker(test, { token, times: quick });
  await until(() => two.codes().includes('tracker-unreachable') && master.codes().includes('tracker-unreachable'));
  await startTracker(test, port);
  await until(() => two.swarm.peers.size === 1);
  test.equal(one.disconnected.length, 0, 'a link does not need the tracker');
});

t.test('a lost link is made anew, and so is one to a Master that restarted', async (test) => {
  const tracker = await startTracker(test);
  const { token, identity } = makeToken([tracker.url]);
  const first = startMaster(test, { token, identity });
  const worker = startWorker(test, { token });
  await until(() => first.connected.length === 1 && worker.connected.length === 1);
  first.connected[0]?.rpc.close();
  await until(() => first.connected.length === 2 && worker.connected.length === 2);
  await first.swarm.close();
  const second = startMaster(test, { token, identity });
  await until(() => second.connected.length === 1 && worker.connected.length === 3);
  test.equal(worker.disconnected.length, 2);
  test.equal(worker.swarm.peers.size, 1);
});

t.test('a Master that is killed is missed, and found again when it is back', async (test) => {
  const tracker = await startTracker(test);
  const { token, identity } = makeToken([tracker.url]);
  const startMasterProcess = async () => {
    const child = fork(new URL('./master-process.js', import.meta.url), [formatToken(token), toHex(identity.privateKey)]);
    test.teardown(() => child.kill('SIGKILL'));
    await once(child, 'message');
    return child;
  };
  const master = await startMasterProcess();
  const worker = startWorker(test, { token });
  await until(() => worker.connected.length === 1);
  const killedAt = performance.now();
  master.kill('SIGKILL');
  await startMasterProcess();
  await until(() => worker.disconnected.length === 1);
  test.comment(`missed after ${Math.round(performance.now() - killedAt)} ms`);
  test.match(worker.disconnected[0]?.error, { code: 'link-lost' });
  await until(() => worker.connected.length === 2);
  test.comment(`back after ${Math.round(performance.now() - killedAt)} ms`);
});

t.test('a worker that comes again with the same key takes the place of its old link', async (test) => {
  const tracker = await startTracker(test);
  const { token, identity } = makeToken([tracker.url]);
  const master = startMaster(test, { token, identity });
  const keys = createKeyPair(primitives);
  const old = startWorker(test, { token, identity: keys });
  await until(() => master.connected.length === 1 && old.connected.length === 1);
  old.swarm.on('disconnected', () => void old.swarm.close());
  const next = startWorker(test, { token, identity: keys });
  await until(() => master.connected.length === 2 && next.connected.length === 1 && old.disconnected.length === 1);
  test.equal(master.disconnected[0]?.peer, master.connected[0]);
  test.equal(master.swarm.peers.get(identityId(keys.publicKey)), master.connected[1]);
});

t.test('nothing that passes the tracker tells the token, a secret, a key or a name', async (test) => {
  const tracker = await startTracker(test);
  const proxy = await startTrackerProxy(tracker.url);
  test.teardown(() => proxy.close());
  const { token, identity } = makeToken([proxy.url]);
  const keys = createKeyPair(primitives);
  const transferSecret = 'the-transfer-secret-of-32-chars!';
  const master = startMaster(test, { token, identity, transferSecret, name: 'name-of-master' });
  const worker = startWorker(test, { token, identity: keys, transferSecret, name: 'name-of-worker' });
  await until(() => worker.swarm.peers.size === 1 && master.swarm.peers.size === 1);
  const traffic = proxy.seen.join('\n');
  test.ok(traffic.includes('a=ice-ufrag') && traffic.includes('-W1-') && traffic.includes('-M1-'), 'it was captured');
  const bytes = [token.secret, token.publicKey, identity.privateKey, keys.publicKey, keys.privateKey];
  const secrets = [
    formatToken(token).slice(4, 60),
    transferSecret,
    'name-of-',
    ...bytes.flatMap((each) => [toBase64url(each), toHex(each), JSON.stringify(String.fromCharCode(...each)).slice(1, -1)]),
  ];
  test.same(
    secrets.filter((secret) => traffic.toLowerCase().includes(secret.toLowerCase())),
    [],
  );
});

t.test('a tracker that rewrites the fingerprints gets nobody connected and breaks nothing', async (test) => {
  const tracker = await startTracker(test);
  const forge = (sdp: string) => sdp.replace(/(a=fingerprint:sha-256 )[0-9A-F]{2}/, '$1FF');
  const proxy = await startTrackerProxy(tracker.url, { fromTracker: (message) => withSdp(message, forge) });
  test.teardown(() => proxy.close());
  const { token, identity } = makeToken([proxy.url]);
  const master = startMaster(test, { token, identity, times: quick });
  const worker = startWorker(test, { token, times: quick });
  await until(() => worker.codes().includes('dtls-failed'));
  test.equal(master.connected.length + worker.connected.length, 0);
  const honest = startWorker(test, { token, trackers: [tracker.url], times: quick });
  const other = startMaster(test, { token, identity, trackers: [tracker.url], times: quick });
  await until(() => honest.swarm.peers.size === 1 && other.swarm.peers.size === 1);
});

t.test('beside an honest tracker such a one only costs time', async (test) => {
  const tracker = await startTracker(test);
  const forge = (sdp: string) => sdp.replace(/(a=fingerprint:sha-256 )[0-9A-F]{2}/, '$1FF');
  const proxy = await startTrackerProxy(tracker.url, { fromTracker: (message) => withSdp(message, forge) });
  test.teardown(() => proxy.close());
  const honest = await startTracker(test);
  const { token, identity } = makeToken([proxy.url, honest.url]);
  const master = startMaster(test, { token, identity, times: quick });
  await master.swarm.ready;
  const workers = Array.from({ length: 5 }, () => startWorker(test, { token, times: quick }));
  await until(() => workers.every(({ swarm }) => swarm.peers.size === 1));
});

t.test('a tracker that links to both sides itself, and passes every byte on, is found out', async (test) => {
  const tracker = await startTracker(test);
  const ice = plainIce([]);
  const links: Link[] = [];
  const pairs: OutgoingAttempt[] = [];
  const attempts: { cancel(): void }[] = [];
  let over = false;
  const bridge = (one: Link, other: Link) => {
    links.push(one, other);
    one.onMessage((message) => other.send(message));
    other.onMessage((message) => one.send(message));
    one.onClose(() => other.close());
    other.onClose(() => one.close());
  };
  // It keeps the worker's offer, answers it with its own connection, and shows the Master an offer of its own instead.
  const own = new Map<string, Promise<OutgoingAttempt>>();
  const proxy = await startTrackerProxy(tracker.url, {
    fromPeer: (message, say) => {
      const { info_hash, peer_id } = message;
      const worker = message.offers?.find(({ offer }) => offer.sdp.includes('ice-ufrag'));
      if (worker) {
        const { offer, offer_id } = worker as { offer: { sdp: string }; offer_id?: string };
        if (own.has(offer.sdp)) return undefined;
        const outgoing = createOffer(platform.engine, ice);
        own.set(offer.sdp, outgoing);
        void (async () => {
          const toMaster = await outgoing;
          const toWorker = answerOffer(platform.engine, ice, offer.sdp);
          pairs.push(toMaster);
          attempts.push(toMaster, toWorker);
          if (over) end();
          const masterLink = toMaster.opened;
          masterSay?.({ info_hash: masterHash, peer_id, offer_id: 'm'.repeat(20), offer: { type: 'offer', sdp: toMaster.sdp } });
          const answer = await toWorker.answer;
          say({ info_hash, peer_id: '-M1-xxxxxxxxxxxxxxxx', offer_id, answer: { type: 'answer', sdp: answer } });
          bridge(await masterLink, await toWorker.opened);
        })().catch(() => {});
        return undefined;
      }
      if (String(peer_id).startsWith('-M')) {
        masterSay = say;
        masterHash = info_hash;
        if (message.answer) {
          for (const pair of pairs) pair.accept(message.answer.sdp);
          return undefined;
        }
      }
      return message;
    },
  });
  let masterSay: ((message: unknown) => void) | undefined;
  let masterHash: unknown;
  const end = () => {
    over = true;
    proxy.close();
    for (const link of links) link.close();
    for (const attempt of attempts) attempt.cancel();
  };
  test.teardown(end);
  const { token, identity } = makeToken([proxy.url]);
  const master = startMaster(test, { token, identity, times: quick });
  await master.swarm.ready;
  const worker = startWorker(test, { token, times: quick });
  await until(() => links.length > 0 && worker.warnings.length > 0 && master.warnings.length > 0);
  const codes = [...worker.codes(), ...master.codes()];
  test.ok(codes.includes('fingerprint-mismatch'), codes.join());
  test.equal(master.connected.length + worker.connected.length, 0);
});

t.test('warning names the step that failed', async (test) => {
  const tracker = await startTracker(test);
  const { token, identity } = makeToken([tracker.url]);

  await test.test('no Master', async (test) => {
    const worker = startWorker(test, { token, times: quick });
    await until(() => worker.warnings.length > 0);
    test.equal(worker.warnings[0]?.code, 'master-absent');
  });

  await test.test('no tracker', async (test) => {
    const worker = startWorker(test, { token, trackers: ['ws://127.0.0.1:1'], times: quick });
    await until(() => worker.warnings.length > 0);
    test.match(worker.warnings[0], { code: 'tracker-unreachable', detail: /^ws:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/ });
  });

  await test.test('a tracker that refuses', async (test) => {
    const proxy = await startTrackerProxy(tracker.url, {
      fromPeer: (_message, say) => {
        say({ 'failure reason': 'not here' });
        return undefined;
      },
    });
    test.teardown(() => proxy.close());
    const worker = startWorker(test, { token, trackers: [proxy.url], times: quick });
    await until(() => worker.warnings.length > 0);
    test.match(worker.warnings[0], { code: 'tracker-refused', detail: /not here/ });
  });

  await test.test('no path between the peers', async (test) => {
    // TEST-NET-1: unreachable.
    const unreachable = (sdp: string) => sdp.replace(/(a=candidate:.* udp \d+) \S+ \d+ typ/gi, '$1 192.0.2.1 9 typ');
    const proxy = await startTrackerProxy(tracker.url, { fromTracker: (message) => withSdp(message, unreachable) });
    test.teardown(() => proxy.close());
    startMaster(test, { token, identity, trackers: [proxy.url], times: quick });
    const worker = startWorker(test, { token, trackers: [proxy.url], times: { ...quick, connectMs: 500 } });
    await until(() => worker.warnings.length > 0);
    test.match(worker.warnings[0], { code: 'ice-failed', detail: /candidates/ });
  });

  await test.test('a worker that was revoked; approved later, it gets in', async (test) => {
    let admitted = false;
    const requested: string[] = [];
    const admit = (id: string) => {
      requested.push(id);
      return admitted ? undefined : ('worker-revoked' as const);
    };
    const master = startMaster(test, { token, identity, times: quick, admit });
    const keys = createKeyPair(primitives);
    const worker = startWorker(test, { token, identity: keys, times: quick });
    await until(() => worker.warnings.length > 0 && master.warnings.length > 0);
    test.equal(worker.warnings.at(-1)?.code, 'worker-revoked');
    test.equal(master.warnings.at(-1)?.code, 'worker-revoked');
    test.equal(requested[0], identityId(keys.publicKey));
    admitted = true;
    await until(() => worker.swarm.peers.size === 1);
  });

  await test.test('another transfer secret', async (test) => {
    startMaster(test, { token, identity, times: quick, transferSecret: 'a'.repeat(32) });
    const worker = startWorker(test, { token, times: quick, transferSecret: 'b'.repeat(32) });
    await until(() => worker.codes().includes('transfer-secret-mismatch'));
  });

  await test.test('somebody who holds the token plays the Master', async (test) => {
    const impostor = createKeyPair(primitives);
    const false_ = createToken({ ...token, publicKey: impostor.publicKey }, primitives);
    const master = startMaster(test, { token: false_, identity: impostor, times: quick });
    const worker = startWorker(test, { token, times: quick });
    await until(() => worker.codes().includes('master-impostor'));
    test.equal(worker.connected.length + master.connected.length, 0);
  });
});

t.test('STUN servers by IPv6 address serve, and one that cannot be used is left out and named', async (test) => {
  const tracker = await startTracker(test);
  const { token, identity } = makeToken([tracker.url]);
  const ice = ['stun:[2001:db8::1]:3478', 'turn:me:hunter2hunter2@nowhere.example:70000'];
  const master = startMaster(test, { token, identity, ice });
  const worker = startWorker(test, { token, ice });
  await until(() => worker.connected.length === 1);
  for (const { warnings } of [master, worker]) {
    test.match(warnings, [{ code: 'ice-server-unusable', detail: /turn:…@nowhere\.example:70000: the port/ }]);
    test.notMatch(warnings[0]?.message, /hunter2/);
  }
});

t.test('it can be closed at any moment', async (test) => {
  const tracker = await startTracker(test);
  const { token, identity } = makeToken([tracker.url]);
  for (const afterMs of [0, 10, 40]) {
    const master = startMaster(test, { token, identity });
    const worker = startWorker(test, { token });
    await new Promise((resolve) => systemClock.after(afterMs, () => resolve(undefined)));
    await Promise.all([worker.swarm.close(), master.swarm.close()]);
    await worker.swarm.close();
  }
  await until(() => openConnections() === 0 && tracker.peers === 0);
});
