import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import SimplePeer from 'simple-peer';
import t from 'tap';
import { answerOffer, createOffer } from '../../../src/swarm/link/dial.js';
import { openConnections } from '../../../src/swarm/link/webrtc.node.js';
import { HIGH_WATER_BYTES, type Link, LOW_WATER_BYTES, MAX_LINK_MESSAGE_BYTES } from '../../../src/swarm/link.js';
import { closed, engine, linkPair, noServers } from './pair.js';

t.test('a link carries messages both ways, whole and in order', async (t) => {
  const [a, b] = await linkPair();
  t.teardown(() => a.close());
  t.equal(a.path, 'direct');
  t.equal(b.path, 'direct');
  t.match(a.fingerprints.local, /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
  t.equal(a.fingerprints.local, b.fingerprints.remote);
  t.equal(b.fingerprints.local, a.fingerprints.remote);
  t.not(a.fingerprints.local, b.fingerprints.local);
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const sizes = [1, 16, 1200, 0, MAX_LINK_MESSAGE_BYTES, 3, MAX_LINK_MESSAGE_BYTES - 1];
    const received = collect(to, sizes.length);
    for (const [at, size] of sizes.entries()) from.send(new Uint8Array(size + 10).fill(at).subarray(5, 5 + size));
    const messages = await received;
    t.strictSame(
      messages.map((message) => message.byteLength),
      sizes,
    );
    t.ok(messages.every((message, at) => message.every((byte) => byte === at)));
  }
  t.throws(() => a.send(new Uint8Array(MAX_LINK_MESSAGE_BYTES + 1)), { code: 'frame-oversized' });
});

t.test('messages that came before the receiver are not lost', async (t) => {
  const [a, b] = await linkPair();
  t.teardown(() => a.close());
  const first = collect(a, 1);
  for (let at = 0; at < 5; at++) a.send(Uint8Array.of(at));
  b.send(Uint8Array.of(9));
  await first;
  t.strictSame(
    (await collect(b, 5)).map((message) => message[0]),
    [0, 1, 2, 3, 4],
  );
});

t.test('back pressure: what is buffered is counted, and drains', async (t) => {
  const [a, b] = await linkPair();
  t.teardown(() => a.close());
  const total = 12 * 1024 * 1024;
  const sent = createHash('sha256');
  const got = createHash('sha256');
  let gotBytes = 0;
  let stops = 0;
  const all = new Promise<void>((resolve) =>
    b.onMessage((message) => {
      got.update(message);
      gotBytes += message.byteLength;
      if (gotBytes === total) resolve();
    }),
  );
  let drained = () => {};
  a.onDrain(() => {
    t.ok(a.bufferedBytes <= LOW_WATER_BYTES, 'drained means below the mark');
    drained();
  });
  for (let at = 0; at < total; at += MAX_LINK_MESSAGE_BYTES) {
    if (a.bufferedBytes > HIGH_WATER_BYTES) {
      stops++;
      await new Promise<void>((resolve) => {
        drained = resolve;
      });
    }
    const message = new Uint8Array(MAX_LINK_MESSAGE_BYTES).fill(at / MAX_LINK_MESSAGE_BYTES);
    sent.update(message);
    a.send(message);
  }
  await all;
  t.ok(stops > 0, `waited ${stops} times`);
  t.equal(got.digest('hex'), sent.digest('hex'));
});

t.test('closing lets go what was sent, and both sides hear of it once', async (t) => {
  const [a, b] = await linkPair();
  const received = collect(b, 64);
  let closings = 0;
  a.onClose(() => closings++);
  b.onClose(() => closings++);
  const ends = Promise.all([closed(a), closed(b)]);
  for (let at = 0; at < 64; at++) a.send(new Uint8Array(MAX_LINK_MESSAGE_BYTES).fill(at));
  a.close();
  a.close();
  a.send(Uint8Array.of(1));
  t.equal((await received).length, 64);
  for (const error of await ends) t.match(error, { code: 'link-closed' });
  t.match(await closed(a), { code: 'link-closed' }, 'a late listener hears it too');
  a.send(Uint8Array.of(1));
  b.send(Uint8Array.of(1));
  b.close();
  t.equal(closings, 2);
  t.equal(a.bufferedBytes, 0);
});

t.test('the answerer may close too', async (t) => {
  const [a, b] = await linkPair();
  const ends = Promise.all([closed(a), closed(b)]);
  b.close();
  for (const error of await ends) t.match(error, { code: 'link-closed' });
});

t.test('an offer without an answer is given up', async (t) => {
  const outgoing = await createOffer(engine, noServers);
  outgoing.cancel();
  await t.rejects(outgoing.opened, { code: 'link-closed' });
  const incoming = answerOffer(engine, noServers, outgoing.sdp);
  incoming.cancel();
  await t.rejects(incoming.opened, { code: 'link-closed' });
});

t.test('one offer, several answers: the first wins', async (t) => {
  const outgoing = await createOffer(engine, noServers);
  const first = answerOffer(engine, noServers, outgoing.sdp);
  const second = answerOffer(engine, noServers, outgoing.sdp, { connectTimeoutMs: 500 });
  t.equal(outgoing.accept(await first.answer), true);
  t.equal(outgoing.accept(await second.answer), false);
  const [a, b] = await Promise.all([outgoing.opened, first.opened]);
  t.teardown(() => a.close());
  t.equal(a.fingerprints.remote, b.fingerprints.local);
  await t.rejects(second.opened, { code: 'ice-failed' });
});

t.test('descriptions that cannot be used harm nobody', async (t) => {
  const outgoing = await createOffer(engine, noServers);
  t.teardown(() => outgoing.cancel());
  for (const sdp of ['', 'v=0', outgoing.sdp.replace('webrtc-datachannel', 'x'), undefined, { toString: () => outgoing.sdp }]) {
    t.throws(() => outgoing.accept(sdp), { code: 'signal-malformed' });
    const incoming = answerOffer(engine, noServers, sdp);
    await t.rejects(incoming.answer, { code: 'signal-malformed' });
    await t.rejects(incoming.opened, { code: 'signal-malformed' });
  }
  const lines = outgoing.sdp.split('\r\n');
  for (let at = 0; at < lines.length; at++) {
    const mangled = lines.map((line, index) => (index === at ? `${line.slice(0, 6)}\u0000%s${line.slice(9)}` : line)).join('\r\n');
    const incoming = answerOffer(engine, noServers, mangled, { connectTimeoutMs: 100 });
    incoming.answer.catch(() => {});
    await incoming.opened.catch((error) => t.match(error, { name: 'PeerworkError' }));
  }
  t.match(outgoing.sdp, /^v=0/, 'still here');
});

t.test('a failed connection says which step failed', async (t) => {
  const wrongPassword = await createOffer(engine, noServers, { connectTimeoutMs: 400 });
  const unreached = answerOffer(engine, noServers, wrongPassword.sdp, { connectTimeoutMs: 400 });
  wrongPassword.accept((await unreached.answer).replace(/a=ice-pwd:....../, 'a=ice-pwd:wrong0'));
  await t.rejects(wrongPassword.opened, {
    code: 'ice-failed',
    message: /candidates here host, there host; no STUN server, no TURN server/,
  });
  await t.rejects(unreached.opened, { code: /^(ice-failed|link-timeout)$/ });

  const swapped = await createOffer(engine, noServers, { connectTimeoutMs: 4000 });
  const honest = answerOffer(engine, noServers, swapped.sdp, { connectTimeoutMs: 4000 });
  const answer = await honest.answer;
  const flipped = answer.replace(
    /(a=fingerprint:sha-256 ..:)(..)/,
    (_, head: string, byte: string) => head + (byte === '00' ? '01' : '00'),
  );
  swapped.accept(flipped);
  await t.rejects(swapped.opened, { code: 'dtls-failed' }, 'a certificate other than announced opens nothing');
  honest.cancel();
  await t.rejects(honest.opened, { name: 'PeerworkError' });
});

t.test('the engine serves plain simple-peer users', async (t) => {
  const wrtc = engine as unknown as NonNullable<SimplePeer.Options['wrtc']>;
  const a = new SimplePeer({ initiator: true, wrtc, config: { iceServers: [] } });
  const b = new SimplePeer({ wrtc, config: { iceServers: [] } });
  t.teardown(() => [a.destroy(), b.destroy()]);
  a.on('signal', (data) => b.signal(data));
  b.on('signal', (data) => a.signal(data));
  a.on('connect', () => a.write('hello'));
  t.equal(String(await new Promise((resolve) => b.once('data', resolve))), 'hello');
});

t.test('a hundred links one after the other leave nothing, and the process ends by itself', async (t) => {
  const script = fileURLToPath(new URL('hundred-links.js', import.meta.url));
  const { stdout } = await execa('node', [script], { timeout: 240_000 });
  const { opened, left, moreFiles } = JSON.parse(stdout);
  t.equal(opened, 100);
  t.equal(left, 0);
  t.ok(moreFiles <= 10, `${moreFiles} more open files`);
});

t.test('an exception in a listener is an uncaughtException, not an abort', async (t) => {
  const script = fileURLToPath(new URL('throwing-listener.js', import.meta.url));
  const { stdout } = await execa('node', [script], { timeout: 240_000 });
  t.equal(stdout, 'caught: thrown by a listener');
});

t.test('nothing is left open', async (t) => {
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(openConnections(), 0);
});

function collect(link: Link, count: number): Promise<Uint8Array[]> {
  const messages: Uint8Array[] = [];
  return new Promise((resolve) =>
    link.onMessage((message) => {
      messages.push(message);
      if (messages.length === count) resolve(messages);
    }),
  );
}
