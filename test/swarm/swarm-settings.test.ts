import t from 'tap';
import { PeerworkError } from '../../src/errors.js';
import { WarningFilter } from '../../src/swarm/events.js';
import { defaultIceServers, formatIceUrl, type IceServer, plainIce } from '../../src/swarm/link/ice.js';
import { publicTrackers, resolveOptions, type SwarmOptions } from '../../src/swarm/swarm-settings.js';
import { createToken, formatToken } from '../../src/swarm/token.js';
import { makeToken, platform, primitives } from './grid.js';

/** Returns the servers chosen for these options. */
function choose(options: Partial<SwarmOptions>, inToken: { trackers?: string[]; ice?: string[] } = {}) {
  let opened: readonly IceServer[] = [];
  const { identity } = makeToken([]);
  const { trackers } = resolveOptions({
    token: createToken({ publicKey: identity.publicKey, ...inToken }, primitives),
    identity,
    name: 'x',
    accept: () => ({}),
    platform: {
      ...platform,
      openIce: (servers) => {
        opened = servers;
        return plainIce(servers);
      },
    },
    ...options,
  });
  return { trackers, ice: opened.map(formatIceUrl) };
}

t.test('options beat the token, the token beats what is built in', async (t) => {
  const ofToken = { trackers: ['wss://token.example'], ice: ['stun:token.example:1'] };
  t.same(choose({}), { trackers: publicTrackers, ice: defaultIceServers });
  t.same(choose({}, ofToken), ofToken);
  t.same(choose({ trackers: ['wss://mine.example'], ice: ['stun:mine.example:2'] }, ofToken), {
    trackers: ['wss://mine.example'],
    ice: ['stun:mine.example:2'],
  });
  t.same(choose({ ice: [] }, ofToken).ice, [], 'an empty list of ICE servers is a choice');
});

t.test('an empty list in the token is a choice too, and goes through its text', async (t) => {
  const { identity } = makeToken([]);
  const none = createToken({ publicKey: identity.publicKey, ice: [] }, primitives);
  t.same(choose({ token: formatToken(none) }).ice, []);
  t.same(choose({ token: formatToken(makeToken([]).token) }).ice, defaultIceServers);
  t.throws(() => choose({ trackers: [] }), { code: 'option-invalid', message: /empty/ });
});

t.test('a server that cannot be used does not stand in the way of the others', async (t) => {
  const ice = ['stun:a.example:99999', 'stun:[2001:db8::1]:3478', 'stun:[::zz]:1', 'stun:2001:db8::1:3478'];
  t.same(choose({ ice }).ice, ['stun:[2001:db8::1]:3478']);
  t.same(choose({}, { ice: ['stun:a.example:99999'] }).ice, [], 'none is left: the token of another must not stop a worker');
  t.throws(() => choose({ ice: ['stun:a.example:99999'] }), { code: 'option-invalid' });
});

t.test('peers that meet on their own machine ask no STUN server, unless told to', async (t) => {
  for (const host of ['127.0.0.1:8000', 'localhost:1', '[::1]:8000']) t.same(choose({ trackers: [`ws://${host}`] }).ice, [], host);
  t.same(choose({ trackers: ['ws://127.0.0.1:8000', 'wss://a.example'] }).ice, defaultIceServers);
  t.same(choose({ trackers: ['ws://127.0.0.1:8000'], ice: ['stun:a.example:1'] }).ice, ['stun:a.example:1']);
});

t.test('what cannot be used is refused at once', async (t) => {
  t.throws(() => choose({ trackers: ['http://a.example'] }), { code: 'option-invalid' });
  t.throws(() => choose({ ice: ['turn:a.example'] }), { code: 'option-invalid' });
  t.throws(() => choose({ transferSecret: 'short' }), { code: 'option-invalid' });
  t.throws(() => choose({ token: formatToken(makeToken([]).token).slice(0, -5) }), { code: 'token-cut' });
});

t.test('the same warning is reported again after a while or after a success, whatever else is reported in between', async (t) => {
  let now = 1000;
  const filter = new WarningFilter({ now: () => now, wall: () => now, after: () => ({ cancel: () => {} }) });
  const absent = new PeerworkError('master-absent');
  t.equal(filter.isNew(absent), true);
  now += 20_000;
  t.equal(filter.isNew(absent), false);
  const failed = new PeerworkError('ice-failed');
  t.equal(filter.isNew(failed), true);
  t.equal(filter.isNew(absent), false, 'two that alternate are both repeated only after 30 s');
  t.equal(filter.isNew(failed), false);
  now += 10_000;
  t.equal(filter.isNew(absent), true);
  t.equal(filter.isNew(failed), false);
  now += 20_000;
  t.equal(filter.isNew(failed), true);
  filter.reset();
  t.equal(filter.isNew(absent), true);
});

t.test('encryption that failed once is tried again without a word; twice is told', async (t) => {
  let now = 1000;
  const filter = new WarningFilter({ now: () => now, wall: () => now, after: () => ({ cancel: () => {} }) });
  const failed = new PeerworkError('dtls-failed');
  t.equal(filter.isNew(failed), false);
  t.equal(filter.isNew(failed), true);
  t.equal(filter.isNew(failed), false, 'and then not again at once');
  filter.reset();
  t.equal(filter.isNew(failed), false);
  now += 30_000;
  t.equal(filter.isNew(failed), false, 'once in a while is no warning');
});
