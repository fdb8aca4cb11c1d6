import { once } from 'node:events';
import { request } from 'node:http';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { PublicInternet } from '../../src/egress/addresses.js';
import { effectivePolicy } from '../../src/egress/policy.js';
import { EgressProxy } from '../../src/egress/proxy.js';
import { confirmEnd } from '../../src/kit/join-streams.js';
import { until } from '../lab/until.js';

const MIB = 1024 * 1024;
/** A little more than 20 MiB, not a multiple of any chunk size. */
const BODY = Buffer.alloc(20 * MIB + 4_567, 'peerwork');

/** Starts a server, and a proxy whose streams lead to it. */
async function setUp(t: Test, serve: (socket: Socket) => void, halfOpenIdleMs?: number) {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    serve(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const proxy = await EgressProxy.open({
    policy: effectivePolicy('lan', { internet: true, hosts: [target] }),
    internet: new PublicInternet([]),
    ...(halfOpenIdleMs !== undefined && { halfOpenIdleMs }),
  });
  t.teardown(async () => {
    await proxy.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const open = async (): Promise<Socket> => {
    const connecting = request({ socketPath: proxy.socketPath, method: 'CONNECT', path: target, agent: false }).end();
    const [response, socket, head] = (await once(connecting, 'connect')) as [{ statusCode: number }, Socket, Buffer];
    t.equal(response.statusCode, 200);
    socket.allowHalfOpen = true;
    if (head.length > 0) socket.unshift(head);
    return socket;
  };
  return { proxy, open };
}

interface Received {
  readonly bytes: number;
  readonly end: 'end' | 'broken';
}

/** Collects all that a stream delivers, and how it ended; a slow reader pauses after each chunk. */
function receive(socket: Socket, slow = false): Promise<Received> {
  return new Promise((resolve) => {
    let bytes = 0;
    const done = (end: Received['end']) => {
      socket.destroy();
      resolve({ bytes, end });
    };
    socket.on('error', () => done('broken'));
    socket.on('close', () => done('broken'));
    socket.on('end', () => confirmEnd(socket, (error) => done(error === undefined ? 'end' : 'broken')));
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (!slow) return;
      socket.pause();
      setTimeout(() => socket.resume(), 0.3);
    });
  });
}

async function count(socket: Socket): Promise<number> {
  let bytes = 0;
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  await once(socket, 'end');
  return bytes;
}

for (const slow of [false, true])
  t.test(`a large response that ends its connection arrives whole, 30 times, ${slow ? 'at a slow' : 'at a quick'} reader`, async (t) => {
    const body = slow ? BODY.subarray(0, 3 * MIB + 77) : BODY;
    const { open } = await setUp(t, (socket) => {
      socket.once('data', () => socket.end(body));
    });
    const lengths = new Set<string>();
    for (let n = 0; n < 30; n += 1) {
      const socket = await open();
      socket.write('GET / HTTP/1.1\r\nconnection: close\r\n\r\n');
      const { bytes, end } = await receive(socket, slow);
      lengths.add(`${bytes} ${end}`);
    }
    t.same([...lengths], [`${body.length} end`]);
  });

t.test('40 at once arrive whole, some at slow readers', async (t) => {
  const body = BODY.subarray(0, 2 * MIB + 17);
  const { open } = await setUp(t, (socket) => {
    socket.once('data', () => socket.end(body));
  });
  const all = await Promise.all(
    Array.from({ length: 40 }, async (_, n) => {
      const socket = await open();
      socket.write('x');
      return receive(socket, n % 4 === 0);
    }),
  );
  t.same(
    all.filter(({ bytes, end }) => bytes !== body.length || end !== 'end'),
    [],
  );
});

t.test('a client that has ended its half gets the whole answer', async (t) => {
  const { open } = await setUp(t, async (socket) => {
    const requestedBytes = await count(socket);
    socket.end(BODY.subarray(0, requestedBytes));
  });
  const socket = await open();
  socket.end(BODY.subarray(0, 5 * MIB));
  t.same(await receive(socket, true), { bytes: 5 * MIB, end: 'end' });
});

t.test('a client that ends before a word was said hears what the server has to say', async (t) => {
  const { open } = await setUp(t, (socket) => {
    setTimeout(() => socket.end('hello'), 50);
  });
  const socket = await open();
  socket.end();
  t.same(await receive(socket), { bytes: 5, end: 'end' });
});

t.test('a server that has ended its half hears the rest', async (t) => {
  let counted: Promise<number> | undefined;
  const { open } = await setUp(t, (socket) => {
    socket.end('goodbye');
    counted = count(socket);
  });
  const socket = await open();
  socket.resume();
  await once(socket, 'end');
  socket.end(BODY);
  t.equal(await counted, BODY.length);
});

for (const slow of [false, true])
  t.test(`a server that resets is never taken for one that ended, ${slow ? 'at a slow' : 'at a quick'} reader`, async (t) => {
    const { open } = await setUp(t, (socket) => {
      socket.once('data', () => socket.write(BODY.subarray(0, 300_000), () => setTimeout(() => socket.resetAndDestroy(), 5)));
    });
    const ends = new Set<string>();
    for (let n = 0; n < 30; n += 1) {
      const socket = await open();
      socket.write('x');
      ends.add((await receive(socket, slow)).end);
    }
    t.same([...ends], ['broken']);
  });

t.test('a client that goes away in the middle is a reset for the server', async (t) => {
  const ends: string[] = [];
  const { open } = await setUp(t, (socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code ?? ''));
    socket.write(BODY);
    socket.resume();
    socket.on('end', () => socket.end());
  });
  for (let n = 0; n < 10; n += 1) {
    const socket = await open();
    await once(socket, 'data');
    socket.destroy();
  }
  await until(() => ends.length === 10);
  t.same(
    ends.filter((code) => code !== 'ECONNRESET' && code !== 'EPIPE'),
    [],
  );
});

t.test('a proxy that is closed breaks its streams, for both sides', async (t) => {
  const ends: string[] = [];
  const { open, proxy } = await setUp(t, (socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code ?? ''));
    socket.on('end', () => ends.push('end'));
    socket.write('half an answer');
    socket.resume();
  });
  const socket = await open();
  await once(socket, 'data');
  const received = receive(socket);
  await proxy.close();
  t.equal((await received).end, 'broken');
  await until(() => ends.length === 1);
  t.same(ends, ['ECONNRESET']);
});

t.test('a stream of which one half is silent for ever is broken off when the other has ended', async (t) => {
  const ends: string[] = [];
  const { open } = await setUp(
    t,
    (socket) => {
      socket.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code ?? ''));
      socket.on('end', () => ends.push('end'));
      socket.resume().end('goodbye');
    },
    50,
  );
  const socket = await open();
  t.teardown(() => socket.destroy());
  let said = '';
  socket.on('data', (chunk) => {
    said += String(chunk);
  });
  await once(socket, 'end');
  await until(() => ends.length > 0);
  t.same([said, ...ends], ['goodbye', 'ECONNRESET']);
});

t.test('a refused client that does not hang up does not keep the proxy from closing', async (t) => {
  const { proxy } = await setUp(t, () => {});
  const connecting = request({ socketPath: proxy.socketPath, method: 'CONNECT', path: '10.0.0.1:80', agent: false }).end();
  const [response, socket] = (await once(connecting, 'connect')) as [{ statusCode: number }, Socket];
  t.equal(response.statusCode, 403);
  t.teardown(() => socket.destroy());
  await proxy.close();
});
