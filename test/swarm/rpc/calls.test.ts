import t from 'tap';
import { systemClock } from '../../../src/clock.js';
import { PeerworkError } from '../../../src/errors.js';
import { MAX_MESSAGE_BYTES } from '../../../src/job/limits.js';
import { createLog } from '../../../src/log.js';
import { nodePrimitives } from '../../../src/swarm/crypto.node.js';
import type { RpcHandlers } from '../../../src/swarm/peer.js';
import { MAX_SERVED_CALLS } from '../../../src/swarm/rpc/served-calls.js';
import { RpcSession } from '../../../src/swarm/rpc/session.js';
import { ManualClock, turn } from '../manual-clock.js';
import { type MemoryLinkOptions, MemoryWire } from '../memory-link.js';
import { openPair, pairedHandshakes } from '../pair.js';

function pairFor(
  t: { teardown(action: () => void): void },
  handlers: RpcHandlers,
  options: MemoryLinkOptions = {},
  ofWorker: RpcHandlers = {},
) {
  const pair = openPair(handlers, ofWorker, options);
  t.teardown(() => {
    pair.wire.a.close();
    pair.wire.b.close();
  });
  return pair;
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'answered',
    (error) => (error instanceof PeerworkError ? error.code : String(error)),
  );

t.test('answers are what was asked, whatever it is', async (t) => {
  const { worker, master } = pairFor(
    t,
    { calls: { echo: (args) => args, later: async (args) => args } },
    {},
    { calls: { back: (args) => [args] } },
  );
  const values = [null, 0, '', 'Käse 🧀 \u2028 \0', [1, [2]], { a: { b: null } }, 1e300, true, undefined, { __proto__x: 1 }, '\ud800'];
  for (const verb of ['echo', 'later']) for (const value of values) t.strictSame(await worker.call(verb, value), value);
  t.strictSame(await master.call('back', 1), [1], 'and the other way round');
  const pollution = JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}');
  await worker.call('echo', pollution);
  t.equal(Reflect.get({}, 'polluted'), undefined);
  for (const length of [65_400, 65_511, 65_512, 65_513, 131_030, 1_000_000]) {
    for (const character of ['x', 'ü', '🧀']) {
      const text = character.repeat(length);
      const [large, small] = await Promise.all([worker.call('echo', text), worker.call('echo', 1)]);
      t.ok(large === text && small === 1, `${length} of ${character}`);
    }
  }
});

t.test('calls share frames and keep their order', async (t) => {
  const order: unknown[] = [];
  const { worker, wire } = pairFor(t, { calls: { count: (args) => order.push(args) }, notes: { noted: (args) => void order.push(args) } });
  await turn();
  let frames = 0;
  wire.tamper = (message) => {
    frames++;
    return [message];
  };
  const calls = [];
  for (let index = 0; index < 1_000; index += 2) {
    calls.push(worker.call('count', index));
    worker.notify('noted', index + 1);
  }
  await Promise.all(calls);
  t.same(
    order,
    Array.from({ length: 1_000 }, (_, index) => index),
  );
  t.ok(frames <= 4, `${frames} frames`);
});

t.test('a handler that throws', async (t) => {
  const lines: string[] = [];
  const wire = new MemoryWire();
  const [ofMaster, ofWorker] = pairedHandshakes();
  const common = { primitives: nodePrimitives, clock: systemClock };
  const log = createLog({ level: 'debug', write: (line) => lines.push(line) });
  const master = new RpcSession({ link: wire.a, handshaken: ofMaster, log, ...common });
  const worker = new RpcSession({ link: wire.b, handshaken: ofWorker, log: createLog({ level: 'off', write: () => {} }), ...common });
  t.teardown(() => wire.a.close());
  master.start({
    calls: {
      refuse: () => Promise.reject(new PeerworkError('asset-unknown', 'abc')),
      refuseAtOnce: () => {
        throw new PeerworkError('stale');
      },
      fail: () => {
        throw new Error('at /home/owner/private');
      },
      failLater: async () => {
        throw new Error('at /home/owner/private');
      },
      unsendable: () => 1n,
      tooLarge: () => 'x'.repeat(MAX_MESSAGE_BYTES),
      long: () => {
        throw new PeerworkError('asset-unknown', 'ü'.repeat(5_000));
      },
      escaping: () => {
        throw new PeerworkError('asset-unknown', 'a\u001b[2J\nb');
      },
      fine: () => 'fine',
    },
    notes: {
      bad: () => {
        throw new Error('in a note');
      },
      badLater: (async () => {
        throw new Error('later in a note');
      }) as () => void,
    },
  });
  worker.start({});
  await t.rejects(worker.call('refuse', 1), { code: 'asset-unknown', detail: 'abc' });
  await t.rejects(worker.call('refuseAtOnce', 1), { code: 'stale', detail: '' });
  for (const verb of ['fail', 'failLater'])
    await t.rejects(worker.call(verb, 1), { code: 'rpc-failed', detail: '' }, 'the peer learns no more than that');
  t.equal(lines.filter((line) => line.includes('/home/owner/private')).length, 2, 'the own log does');
  await t.rejects(worker.call('unsendable', 1), { code: 'rpc-failed' });
  await t.rejects(worker.call('tooLarge', 1), { code: 'frame-oversized' });
  await t.rejects(worker.call('long', 1), { code: 'asset-unknown', message: /: ü{1000}$/ }, 'a long detail is cut');
  await t.rejects(worker.call('escaping', 1), { code: 'asset-unknown', detail: 'a [2J b' }, 'and cannot write to a terminal');
  worker.notify('bad', 1);
  worker.notify('badLater', 1);
  t.equal(await worker.call('fine', 1), 'fine');
  await turn();
  t.equal(lines.filter((line) => line.includes('in a note')).length, 2);
});

t.test('only what is in the table can be called', async (t) => {
  const { worker } = pairFor(t, { calls: { known: () => 1 } });
  for (const verb of ['unknown', 'constructor', '__proto__', 'toString', 'hasOwnProperty']) {
    t.equal(await codeOf(worker.call(verb, [])), 'rpc-unknown-verb', verb);
    worker.notify(verb, []);
    t.equal(await codeOf(drain(worker.stream(verb, []))), 'rpc-unknown-verb', verb);
  }
  t.equal(await worker.call('known', 1), 1);
});

async function drain(stream: AsyncIterable<Uint8Array>): Promise<number> {
  let length = 0;
  for await (const bytes of stream) length += bytes.length;
  return length;
}

t.test('arguments that cannot be sent', async (t) => {
  const { worker } = pairFor(t, { calls: { echo: (args) => args } });
  const circle: { self?: unknown } = {};
  circle.self = circle;
  t.equal(await codeOf(worker.call('echo', circle)), 'rpc-invalid');
  t.equal(await codeOf(worker.call('echo', 1n)), 'rpc-invalid');
  t.equal(await codeOf(worker.call('echo', 'x'.repeat(MAX_MESSAGE_BYTES))), 'frame-oversized');
  t.equal(await codeOf(worker.call('echo', 'ü'.repeat(MAX_MESSAGE_BYTES / 2))), 'frame-oversized');
  const largest = 'x'.repeat(MAX_MESSAGE_BYTES - 'echo\n""'.length);
  t.ok((await worker.call('echo', largest)) === largest, 'to the last byte');
});

t.test('a deadline', async (t) => {
  const clock = new ManualClock();
  const signals: AbortSignal[] = [];
  const handlers = { calls: { never: (_: unknown, signal: AbortSignal) => new Promise(() => signals.push(signal)) } };
  const { worker } = pairFor(t, handlers, { clock });
  const endings: string[] = [];
  const watch = (name: string, call: Promise<unknown>) => codeOf(call).then((code) => endings.push(`${name} ${code}`));
  void watch('short', worker.call('never', 1, { timeoutMs: 2_000 }));
  void watch('default', worker.call('never', 2));
  void watch('endless', worker.call('never', 3, { timeoutMs: 0 }));
  // They are in flight before time passes.
  await turn();
  await clock.pass(1_999);
  t.same(endings, []);
  await clock.pass(1);
  t.same(endings, ['short rpc-timeout']);
  t.same(
    signals.map((signal) => signal.aborted),
    [true, false, false],
    'the handler is told',
  );
  await clock.pass(27_999);
  t.same(endings, ['short rpc-timeout']);
  await clock.pass(1);
  t.same(endings, ['short rpc-timeout', 'default rpc-timeout']);
  await clock.pass(100_000);
  t.equal(endings.length, 2);
});

t.test('cancellation', async (t) => {
  const signals: AbortSignal[] = [];
  const handlers = {
    calls: { never: (_: unknown, signal: AbortSignal) => new Promise(() => signals.push(signal)), echo: (args: unknown) => args },
  };
  const { worker } = pairFor(t, handlers);
  const controller = new AbortController();
  const call = codeOf(worker.call('never', 1, { signal: controller.signal }));
  await turn();
  controller.abort();
  t.equal(await call, 'rpc-cancelled');
  await turn();
  t.ok(signals[0]?.aborted, 'reaches the handler');
  t.equal(signals[0]?.reason.code, 'rpc-cancelled');

  t.equal(await codeOf(worker.call('never', 1, { signal: AbortSignal.abort() })), 'rpc-cancelled');
  const early = new AbortController();
  const withdrawn = codeOf(worker.call('never', 1, { signal: early.signal }));
  early.abort();
  t.equal(await withdrawn, 'rpc-cancelled');
  await worker.call('echo', 1);
  t.equal(signals.length, 1, 'what is cancelled in the same turn is never sent');

  const large = new AbortController();
  const cut = codeOf(worker.call('never', 'x'.repeat(8_000_000), { signal: large.signal }));
  await turn(1);
  large.abort();
  t.equal(await cut, 'rpc-cancelled');
  await worker.call('echo', 1);
  await turn();
  t.equal(signals.length, 2, 'of one that is half sent the rest is');
  t.ok(signals[1]?.aborted, 'and then the cancellation, not the other way round');
  const done = new AbortController();
  t.equal(await worker.call('echo', 2, { signal: done.signal }), 2);
  done.abort();
  t.equal(await worker.call('echo', 3), 3, 'after the answer it means nothing');
});

t.test('a limit on open calls', async (t) => {
  const open: ((value: unknown) => void)[] = [];
  const { worker } = pairFor(t, { calls: { wait: () => new Promise((resolve) => open.push(resolve)), echo: (args) => args } });
  const calls = Array.from({ length: MAX_SERVED_CALLS }, () => worker.call('wait', 0));
  t.equal(await codeOf(worker.call('echo', 0)), 'rpc-overloaded');
  open.pop()?.('done');
  await turn();
  t.equal(await worker.call('echo', 1), 1);
  for (const resolve of open) resolve('done');
  t.same(new Set(await Promise.all(calls)), new Set(['done']));
});

t.test('the end', async (t) => {
  const handlers = { calls: { never: (_: unknown, signal: AbortSignal) => new Promise(() => signals.push(signal)) } };
  const signals: AbortSignal[] = [];
  for (const [how, code, told] of [
    ['close', 'link-closed', 'link-closed'],
    ['revoke', 'worker-revoked', 'link-closed'],
    ['cut', 'link-lost', 'link-lost'],
  ] as const) {
    const pair = pairFor(t, handlers);
    const pending = codeOf(pair.worker.call('never', 1));
    await turn();
    if (how === 'close') pair.master.close();
    else if (how === 'revoke') pair.master.close('worker-revoked');
    else for (const link of [pair.wire.a, pair.wire.b]) link.close(new PeerworkError('link-lost'));
    t.equal(await pending, code, how);
    t.match(await pair.worker.closed, { code });
    t.match(await pair.master.closed, { code: told });
    t.ok(pair.wire.a.closed && pair.wire.b.closed);
    t.ok(signals.pop()?.aborted, 'what was running for the peer is told');
    t.equal(await codeOf(pair.worker.call('never', 1)), code, 'a call after the end');
    t.equal(await codeOf(drain(pair.worker.stream('never', 1))), code);
    pair.worker.notify('never', 1);
  }
  const pair = pairFor(t, { notes: { last: (args) => void received.push(args) } });
  const received: unknown[] = [];
  pair.worker.notify('last', 'words');
  pair.worker.close();
  await pair.master.closed;
  t.same(received, ['words'], 'what was said before the goodbye arrives');

  const silent = pairFor(t, {});
  silent.wire.tamper = () => [];
  silent.worker.close();
  t.match(await silent.worker.closed, { code: 'link-closed' }, 'a goodbye that nobody hears does not keep the link open');
});

t.test('what came before the session began is not lost', async (t) => {
  const wire = new MemoryWire();
  const [ofMaster, ofWorker] = pairedHandshakes();
  const common = { primitives: nodePrimitives, clock: systemClock, log: createLog({ level: 'off', write: () => {} }) };
  const master = new RpcSession({ link: wire.a, handshaken: ofMaster, ...common });
  const early: Uint8Array[] = [];
  wire.b.onMessage((message) => early.push(message));
  master.start({});
  master.notify('first', 1);
  await turn();
  t.ok(early.length > 0);
  const received: unknown[] = [];
  const worker = new RpcSession({ link: wire.b, handshaken: { ...ofWorker, early }, ...common });
  worker.start({ notes: { first: (args) => void received.push(args), second: (args) => void received.push(args) } });
  master.notify('second', 2);
  await turn();
  t.same(received, [1, 2]);
  master.close();
  await worker.closed;
});
