import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { PeerworkError } from '../../src/errors.js';
import { exposeBreaks } from '../../src/kit/join-streams.js';
import { openLedger } from '../../src/ledger/open.js';
import { createLog } from '../../src/log.js';
import { MAX_CONNECTIONS_PER_LEASE, MAX_CONNECTIONS_PER_WORKER, readTunnels, Tunnels } from '../../src/master/tunnels.js';
import { openTunnelPort } from '../../src/runners/tunnel-port.js';
import { PeerTunnel } from '../../src/sources/master/peer-tunnel.js';
import type { RpcHandlers } from '../../src/swarm/peer.js';
import { freePort } from '../lab/free-port.js';
import { until } from '../lab/until.js';
import { ManualClock } from '../swarm/manual-clock.js';
import { openPair, type Pair } from '../swarm/pair.js';

const worker = { id: 'key-of-anna', name: 'anna' };
const never = new AbortController().signal;

/** A server that echoes its input and records its connections. */
async function echoServer(t: Test) {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { sockets, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** A port to which connecting never completes: its server accepts nothing, and its backlog is full. */
async function silentPort(t: Test): Promise<number> {
  const script = `const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    require('node:fs').writeSync(1, String(server.address().port));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [port] = await once(child.stdout, 'data');
  const queued = Array.from({ length: 8 }, () => connect(Number(port), '127.0.0.1').on('error', () => {}));
  t.teardown(() => {
    for (const socket of queued) socket.destroy();
    child.kill('SIGKILL');
  });
  await Promise.all(queued.slice(0, 2).map((socket) => once(socket, 'connect')));
  return Number(port);
}

/** The Master's side on a ledger with one job leased to the worker, and links to it. */
async function setUp(t: Test, addresses: Readonly<Record<string, string>>, tunnel: string | undefined = 'echo') {
  const lines: string[] = [];
  const clock = new ManualClock();
  const ledger = await openLedger('memory:');
  t.teardown(() => ledger.close());
  const task = { tunnel: tunnel as string | undefined };
  const log = createLog({ level: 'debug', write: (line) => lines.push(line) });
  const tasks = { current: () => ({ runner: 'probe', digest: '', ...(task.tunnel !== undefined && { tunnel: task.tunnel }) }) };
  const tunnels = new Tunnels({ addresses: readTunnels(addresses), ledger, tasks, clock, log });
  t.teardown(() => tunnels.close());
  await ledger.add(
    [
      { id: 'job', data: 1 },
      { id: 'other', data: 2 },
    ],
    0,
  );
  const claim = { channels: ['default'], labels: [], limit: 1, until: 60_000 };
  const [job] = await ledger.claim({ ...claim, worker }, 0);
  const key = { id: 'job', lease: job?.lease ?? 0 };
  const link = (who = worker): Pair => {
    const streams: RpcHandlers['streams'] = { openTunnel: (args, signal, upload) => tunnels.open(who, args, signal, upload) };
    const pair = openPair({ streams }, {});
    t.teardown(() => pair.close());
    return pair;
  };
  return { lines, clock, ledger, tunnels, key, claim, link, task };
}

async function said(duplex: Duplex, text: string): Promise<string> {
  duplex.write(text);
  const [answer] = await once(duplex, 'data');
  return String(answer);
}

/** Resolves with how an open connection ends. */
function endOf(duplex: Duplex): Promise<string> {
  return new Promise((resolve) => {
    duplex.on('error', (error) => resolve((error as PeerworkError).code));
    duplex.on('end', () => resolve('end'));
    duplex.resume();
  });
}

t.test('a job reaches the address that its task names, and each connection ends in order', async (t) => {
  const { sockets, address } = await echoServer(t);
  const { link, key, tunnels, lines } = await setUp(t, { echo: address });
  const pair = link();
  const tunnel = new PeerTunnel(key, () => pair.worker);
  const one = await tunnel.open(never);
  const two = await tunnel.open(never);
  t.equal(await said(one, 'hello'), 'hello');
  t.equal(await said(two, 'you'), 'you');
  t.equal(tunnels.size, 2);
  one.end('last words');
  let rest = '';
  one.on('data', (bytes) => {
    rest += String(bytes);
  });
  await once(one, 'close');
  t.equal(rest, 'last words', 'its end is passed on, and so is what the other side says after it');
  two.destroy();
  await until(() => sockets.size === 0 && tunnels.size === 0);
  t.ok(lines.length > 0);
  t.notMatch(lines.join('\n'), address.split(':')[1] ?? '', 'no log tells the address');
});

t.test('a server that has said all it had to say still hears the rest', async (t) => {
  let heard = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.end('goodbye');
    socket.on('data', (bytes) => {
      heard += bytes.length;
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { link, key, tunnels } = await setUp(t, { echo: `127.0.0.1:${(server.address() as AddressInfo).port}` });
  const pair = link();
  const connection = await new PeerTunnel(key, () => pair.worker).open(never);
  t.equal(await endOf(connection), 'end');
  connection.end(Buffer.alloc(3_000_000));
  await once(connection, 'close');
  await until(() => heard === 3_000_000 && tunnels.size === 0);
});

t.test('nobody gets anywhere else', async (t) => {
  const { sockets, address } = await echoServer(t);
  const other = await echoServer(t);
  const { link, key, task, ledger, claim } = await setUp(t, { echo: address, other: other.address });
  const pair = link();
  const open = async (args: unknown, rpc = pair.worker) => {
    const upload = { [Symbol.asyncIterator]: () => ({ next: () => Promise.resolve({ done: true as const, value: undefined }) }) };
    try {
      for await (const _ of rpc.stream('openTunnel', args, { upload }));
      return 'open';
    } catch (error) {
      return error instanceof PeerworkError ? error.code : String(error);
    }
  };
  t.equal(await open(key), 'open');
  t.equal(await open({ ...key, lease: key.lease + 1 }), 'tunnel-lease-ended', 'another lease number');
  t.equal(await open({ ...key, id: 'other' }), 'tunnel-lease-ended', 'a job that waits');
  t.equal(await open({ ...key, id: 'unknown' }), 'tunnel-lease-ended');
  t.equal(await open(key, link({ id: 'key-of-mallory', name: 'anna' }).worker), 'tunnel-lease-ended', 'a worker that does not hold it');
  await ledger.claim({ ...claim, worker: { id: 'key-of-berta', name: 'berta' } }, 0);
  t.equal(await open({ id: 'other', lease: 1 }), 'tunnel-lease-ended', 'a job of another worker');
  for (const args of [null, {}, { id: 'job' }, { lease: 1 }, { id: 7, lease: 1 }, 'job']) t.equal(await open(args), 'rpc-invalid');
  const wish = { address: other.address, host: '127.0.0.1', port: 1, tunnel: 'other', name: 'other' };
  t.equal(await open({ ...key, ...wish }), 'open', 'wishes are not read');
  t.equal(other.sockets.size, 0);
  task.tunnel = undefined;
  t.equal(await open(key), 'tunnel-none', 'the task names none');
  task.tunnel = 'secret';
  t.equal(await open(key), 'tunnel-unknown', 'or one that the owner does not offer');
  await until(() => sockets.size === 0);
  const changes: [Readonly<Record<string, string>>, string][] = [
    [{ echo: 'localhost' }, 'no port'],
    [{ echo: 'redis://:password@127.0.0.1:6379' }, 'a URL'],
    [{ echo: '127.0.0.1:70000' }, 'no such port'],
    [{ 'Echo!': '127.0.0.1:1' }, 'a bad name'],
  ];
  for (const [addresses, what] of changes)
    t.throws(() => readTunnels(addresses), { code: 'tunnel-invalid', message: /^(?!.*password)/ }, what);
});

t.test('with its lease a tunnel ends', async (t) => {
  const { sockets, address } = await echoServer(t);
  const { link, key, ledger, tunnels, claim } = await setUp(t, { echo: address });
  const pair = link();
  const ends: readonly [string, (lease: number) => Promise<unknown>][] = [
    [
      'settled',
      (lease) =>
        ledger.settle(
          worker,
          [{ ...key, lease, outcome: { state: 'failed', error: { code: 'x', message: '' }, retry: true }, startedAt: 0, finishedAt: 1 }],
          1,
        ),
    ],
    [
      'given back',
      (lease) => ledger.settle(worker, [{ ...key, lease, outcome: { state: 'released', reason: '' }, startedAt: 0, finishedAt: 1 }], 1),
    ],
    ['lost', () => ledger.maintain(100_000)],
    ['begun anew', () => ledger.reset(['job'], 100_000)],
    ['cancelled', () => ledger.cancel(['job'], 200_000)],
    ['deleted', () => ledger.delete(['job'], 300_000)],
  ];
  let { lease } = key;
  for (const [how, end] of ends) {
    const tunnel = new PeerTunnel({ id: 'job', lease }, () => pair.worker);
    const open = await Promise.all([tunnel.open(never), tunnel.open(never)]);
    const ended = open.map(endOf);
    t.equal(sockets.size, 2, how);
    await end(lease);
    t.same(await Promise.all(ended), ['tunnel-lease-ended', 'tunnel-lease-ended']);
    await until(() => sockets.size === 0 && tunnels.size === 0);
    await t.rejects(tunnel.open(never), { code: 'tunnel-lease-ended' });
    if (how === 'cancelled') await ledger.retry(['job'], 250_000);
    if (how === 'deleted') break;
    const [again] = await ledger.claim({ ...claim, worker, until: how === 'given back' ? 60_000 : 1_000_000 }, 400_000);
    t.equal(again?.id, 'job');
    lease = again?.lease ?? 0;
  }
});

t.test('on the worker too: nothing is left open when its run is over', async (t) => {
  const { sockets, address } = await echoServer(t);
  const { link, key } = await setUp(t, { echo: address });
  const pair = link();
  const tunnel = new PeerTunnel(key, () => pair.worker);
  const open = await Promise.all([tunnel.open(never), tunnel.open(never)]);
  const ended = open.map(endOf);
  tunnel.close();
  t.same(await Promise.all(ended), ['tunnel-lease-ended', 'tunnel-lease-ended']);
  await t.rejects(tunnel.open(never), { code: 'tunnel-lease-ended' });
  await until(() => sockets.size === 0);
});

t.test('a lost link cuts the connections; over the next one there are new ones', async (t) => {
  const { sockets, address } = await echoServer(t);
  const { link, key } = await setUp(t, { echo: address });
  let pair: Pair | undefined = link();
  const tunnel = new PeerTunnel(key, () => pair?.worker);
  const first = await tunnel.open(never);
  const ended = endOf(first);
  for (const end of [pair.wire.a, pair.wire.b]) end.close(new PeerworkError('link-lost', 'cable'));
  t.equal(await ended, 'link-lost');
  await until(() => sockets.size === 0);
  pair = undefined;
  await t.rejects(tunnel.open(never), { code: 'link-lost' });
  pair = link();
  t.equal(await said(await tunnel.open(never), 'again'), 'again');
});

t.test('a server that is away, silent, or breaks off', async (t) => {
  const { sockets, address } = await echoServer(t);
  const nobody = await freePort();
  const silent = await silentPort(t);
  const { link, key, task, clock } = await setUp(t, { echo: address, nobody: `127.0.0.1:${nobody}`, silent: `127.0.0.1:${silent}` });
  const pair = link();
  const tunnel = new PeerTunnel(key, () => pair.worker);
  task.tunnel = 'nobody';
  await t.rejects(tunnel.open(never), { code: 'tunnel-unreachable', detail: 'nobody: ECONNREFUSED' });
  task.tunnel = 'echo';
  const broken = await tunnel.open(never);
  const ended = endOf(broken);
  t.equal(await said(broken, 'x'), 'x');
  for (const socket of sockets) socket.resetAndDestroy();
  t.equal(await ended, 'tunnel-broken');
  task.tunnel = 'silent';
  const waiting = tunnel.open(never);
  const outcome = waiting.then(
    () => 'open',
    (error) => error.code,
  );
  let known = false;
  void outcome.finally(() => {
    known = true;
  });
  await until(async () => {
    await clock.pass(1_000);
    return known;
  }, 1);
  t.equal(await outcome, 'tunnel-unreachable');
  const controller = new AbortController();
  const given = tunnel.open(controller.signal);
  controller.abort();
  await t.rejects(given, { code: 'rpc-cancelled' });
});

t.test('a Master that knows no tunnels says so', async (t) => {
  const pair = openPair({ streams: {} }, {});
  t.teardown(() => pair.close());
  await t.rejects(new PeerTunnel({ id: 'job', lease: 1 }, () => pair.worker).open(never), { code: 'tunnel-unsupported' });
});

t.test('connections have limits, for a lease and for a worker', async (t) => {
  const { sockets, address } = await echoServer(t);
  const { link, key, ledger, claim, tunnels } = await setUp(t, { echo: address });
  const pair = link();
  const tunnel = new PeerTunnel(key, () => pair.worker);
  const all = await Promise.allSettled(Array.from({ length: MAX_CONNECTIONS_PER_LEASE + 10 }, () => tunnel.open(never)));
  const open = all.filter((each) => each.status === 'fulfilled');
  t.equal(open.length, MAX_CONNECTIONS_PER_LEASE);
  t.ok(all.every((each) => each.status === 'fulfilled' || each.reason.code === 'tunnel-full'));
  const [other] = await ledger.claim({ ...claim, worker }, 0);
  const second = new PeerTunnel({ id: 'other', lease: other?.lease ?? 0 }, () => pair.worker);
  const more = await Promise.allSettled(Array.from({ length: MAX_CONNECTIONS_PER_LEASE }, () => second.open(never)));
  t.equal(more.filter((each) => each.status === 'fulfilled').length, MAX_CONNECTIONS_PER_WORKER - MAX_CONNECTIONS_PER_LEASE);
  open[0]?.value.destroy();
  await until(() => tunnels.size < MAX_CONNECTIONS_PER_WORKER);
  t.equal(await said(await tunnel.open(never), 'room'), 'room');
  await pair.close();
  await until(() => sockets.size === 0 && tunnels.size === 0);
});

t.test('whoever does not read holds up only its own connection, and little of it', async (t) => {
  let sent = 0;
  const server = createServer((socket) => {
    socket.on('error', () => {});
    const write = () => {
      while (!socket.destroyed && socket.write(Buffer.alloc(64 * 1024))) sent += 64 * 1024;
    };
    socket.on('drain', write);
    write();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { link, key } = await setUp(t, { echo: `127.0.0.1:${(server.address() as AddressInfo).port}` });
  const pair = link();
  const tunnel = new PeerTunnel(key, () => pair.worker);
  const lazy = await tunnel.open(never);
  let before = -1;
  await until(() => {
    const still = sent === before;
    before = sent;
    return still && sent > 2_000_000;
  }, 200);
  // The kernel's socket buffers at both ends of the TCP connection are not ours to bound.
  t.ok(pair.worker.traffic.received < 3_000_000, `${pair.worker.traffic.received} bytes came over the link`);
  const eager = await tunnel.open(never);
  let got = 0;
  eager.on('data', (bytes) => {
    got += bytes.length;
  });
  await until(() => got > 10_000_000);
  for (const each of [lazy, eager]) each.destroy();
});

/** A server that records how each connection ended: `end` only if it was orderly. */
async function countingServer(t: Test, serve: (socket: Socket) => void) {
  const ends: string[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let bytes = 0;
    exposeBreaks(socket);
    socket.on('data', (chunk) => {
      bytes += chunk.length;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code ?? ''));
    socket.on('end', () => {
      ends.push(`${bytes} bytes`);
      socket.end();
    });
    serve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return { ends, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

t.test('through the port on the worker and the link every byte arrives in both directions, at slow readers too', async (t) => {
  const body = Buffer.alloc(20 * 1024 * 1024 + 99, 'x');
  const { ends, address } = await countingServer(t, (socket) => socket.end(body));
  const { link, key } = await setUp(t, { echo: address });
  const pair = link();
  const port = await openTunnelPort(new PeerTunnel(key, () => pair.worker), { onError: (error) => t.error(error) });
  t.teardown(() => port.close());
  const lengths = await Promise.all(
    Array.from({ length: 4 }, async (_, n) => {
      const program = connect({ ...port, allowHalfOpen: true });
      let bytes = 0;
      program.on('data', (chunk) => {
        bytes += chunk.length;
        if (n % 2 === 0 || bytes % 16 !== 0) return;
        program.pause();
        setTimeout(() => program.resume(), 1);
      });
      program.end(body);
      await once(program, 'end');
      return bytes;
    }),
  );
  t.same(lengths, Array(4).fill(body.length));
  await until(() => ends.length === 4);
  t.same(ends, Array(4).fill(`${body.length} bytes`));
});

t.test('what breaks at the program, the link or the lease is no orderly end for the server', async (t) => {
  const { ends, address } = await countingServer(t, (socket) => socket.write('ready'));
  const { link, key, ledger } = await setUp(t, { echo: address });
  const breaks: readonly [string, (program: Socket, pair: Pair) => unknown][] = [
    ['the program', (program) => program.resetAndDestroy()],
    ['the link', (_, pair) => [pair.wire.a, pair.wire.b].map((end) => end.close(new PeerworkError('link-lost', 'cable')))],
    ['the lease', () => ledger.cancel(['job'], 1)],
  ];
  for (const [what, cut] of breaks) {
    const pair = link();
    const port = await openTunnelPort(new PeerTunnel(key, () => pair.worker));
    t.teardown(() => port.close());
    const program = connect({ ...port, allowHalfOpen: true });
    const broken = new Promise((resolve) => program.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code)));
    program.write('half an upload');
    await once(program, 'data');
    cut(program, pair);
    await until(() => ends.length > 0);
    t.same(ends.splice(0), ['ECONNRESET'], what);
    if (what !== 'the program') t.equal(await broken, 'ECONNRESET', `the program, for ${what}`);
  }
});

t.test('a server that has ended and then breaks is told to the program that still sends', async (t) => {
  const { address } = await countingServer(t, (socket) => {
    socket.end('goodbye');
    socket.once('data', () => socket.resetAndDestroy());
  });
  const { link, key, tunnels } = await setUp(t, { echo: address });
  const pair = link();
  const port = await openTunnelPort(new PeerTunnel(key, () => pair.worker));
  t.teardown(() => port.close());
  const program = connect({ ...port, allowHalfOpen: true });
  const broken = new Promise((resolve) => program.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code)));
  program.resume();
  await once(program, 'end');
  const timer = setInterval(() => program.write(Buffer.alloc(1_000)), 1);
  t.teardown(() => clearInterval(timer));
  t.match(await broken, /^(ECONNRESET|EPIPE)$/);
  await until(() => tunnels.size === 0);
});

t.test('a connection of which one half is silent for ever is broken off when the other has ended', async (t) => {
  const { ends, address } = await countingServer(t, (socket) => socket.end('goodbye'));
  const { link, key, clock, tunnels } = await setUp(t, { echo: address });
  const pair = link();
  const connection = await new PeerTunnel(key, () => pair.worker).open(never);
  t.equal(await endOf(connection), 'end');
  const broken = new Promise((resolve) => connection.on('error', resolve));
  await until(async () => {
    await clock.pass(60_000);
    return tunnels.size === 0;
  }, 1);
  t.same(ends, ['ECONNRESET']);
  t.match(await broken, { code: 'tunnel-broken' });
});
