import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttp, type RequestListener } from 'node:http';
import { createServer as createHttp2, createSecureServer } from 'node:http2';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { WebSocketServer } from 'ws';
import { requireTools } from '../lab/require.js';
import { certificate, stage } from './preload-stage.js';

async function listening(t: Test, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

t.test('fetch, http and net reach a name that only the proxy can resolve', async (t) => {
  const port = await listening(
    t,
    createHttp((request, response) => response.end(`${request.method} ${request.url} ${request.headers.host}`)),
  );
  const { run } = await stage(t, [port]);
  const result = await run(
    `
    import http from 'node:http';
    import { connect } from 'node:net';
    const url = 'http://service.test:' + data.port;
    const body = async (stream) => { let text = ''; for await (const part of stream) text += part; return text; };
    const byHttp = await new Promise((resolve, reject) => http.get(url + '/http', resolve).on('error', reject));
    const socket = connect(data.port, 'SERVICE.test');
    socket.end('GET /net HTTP/1.0\\r\\n\\r\\n');
    const raw = await body(socket);
    tell([await (await fetch(url + '/fetch')).text(), await body(byHttp), raw.split('\\r\\n\\r\\n')[1]]);
  `,
    { port },
  );
  t.same(result, [`GET /fetch service.test:${port}`, `GET /http service.test:${port}`, 'GET /net undefined']);
});

t.test('TLS keeps its SNI, its check of the name, its session and ALPN', async (t) => {
  if (!requireTools(t, { openssl: 'openssl' })) return;
  const { key, cert, certFile } = certificate(t);
  const port = await listening(
    t,
    createHttps({ key, cert }, (request, response) => {
      const { socket } = request;
      response.end(socket instanceof TLSSocket ? String(socket.servername) : 'plain');
    }),
  );
  const { run } = await stage(t, [port]);
  const result = await run(
    `
    import tls, { connect } from 'node:tls';
    const url = 'https://service.test:' + data.port;
    const open = (options) => new Promise((resolve) => {
      const socket = connect({ port: data.port, ...options }, () => { resolve([socket.authorized, socket.servername || '', socket.isSessionReused()]); socket.destroy(); });
      socket.on('error', (error) => resolve(error.code));
    });
    const session = await new Promise((resolve) => {
      const socket = tls.connect({ host: 'service.test', servername: 'service.test', port: data.port, maxVersion: 'TLSv1.2' }, () => { resolve(socket.getSession()); socket.destroy(); });
    });
    tell([
      await (await fetch(url)).text(),
      await open({ host: 'service.test' }),
      await open({ host: 'service.test', servername: 'service.test' }),
      await open({ host: 'service.test', servername: 'service.test', session, maxVersion: 'TLSv1.2' }),
      await open({ host: 'other.test' }),
      await open({ host: 'other.test', servername: 'service.test' }),
    ]);
  `,
    { port },
    { NODE_EXTRA_CA_CERTS: certFile },
  );
  t.same(result, [
    'service.test',
    [true, '', false],
    [true, 'service.test', false],
    [true, 'service.test', true],
    'ERR_TLS_CERT_ALTNAME_INVALID',
    [true, 'service.test', false],
  ]);
});

t.test('http2, with TLS and without', async (t) => {
  if (!requireTools(t, { openssl: 'openssl' })) return;
  const { key, cert, certFile } = certificate(t);
  const secure = createSecureServer({ key, cert });
  const plain = createHttp2();
  for (const server of [secure, plain]) {
    server.on('stream', (stream) => {
      stream.respond({ ':status': 200 });
      stream.end('x'.repeat(200_000));
    });
  }
  const ports = [await listening(t, secure), await listening(t, plain)];
  const { run } = await stage(t, ports);
  const result = await run(
    `
    import http2 from 'node:http2';
    const sizeOf = (url) => new Promise((resolve, reject) => {
      const session = http2.connect(url).on('error', reject);
      let size = 0;
      session.request({ ':path': '/' }).on('data', (part) => { size += part.length; }).on('end', () => { resolve(size); session.close(); }).end();
    });
    tell([await sizeOf('https://service.test:' + data.ports[0]), await sizeOf('http://service.test:' + data.ports[1])]);
  `,
    { ports },
    { NODE_EXTRA_CA_CERTS: certFile },
  );
  t.same(result, [200_000, 200_000]);
});

t.test('a server that speaks first loses no byte, whatever reads it', async (t) => {
  const greeting = randomBytes(3_000);
  const port = await listening(
    t,
    createServer((socket) => {
      socket.write(greeting);
      socket.pipe(socket);
    }),
  );
  const { run } = await stage(t, [port]);
  const result = await run(
    `
    import net from 'node:net';
    import { createHash } from 'node:crypto';
    const address = { host: 'service.test', port: data.port };
    const hash = (options) => new Promise((resolve, reject) => {
      const sum = createHash('sha256');
      const socket = net.connect({ ...address, ...options(sum) });
      socket.on('error', reject).on('end', () => resolve(sum.digest('hex')));
      socket.end('and back');
      return socket;
    });
    const flowing = await new Promise((resolve, reject) => {
      const sum = createHash('sha256');
      const socket = net.connect(address).on('data', (part) => sum.update(part)).on('end', () => resolve(sum.digest('hex'))).on('error', reject);
      socket.end('and back');
    });
    const paused = await new Promise((resolve, reject) => {
      const sum = createHash('sha256');
      const socket = net.connect(address).pause();
      socket.on('connect', () => setTimeout(() => socket.on('data', (part) => sum.update(part)).resume(), 50));
      socket.on('end', () => resolve(sum.digest('hex'))).on('error', reject);
      socket.end('and back');
    });
    const own = await hash((sum) => ({ onread: { buffer: Buffer.alloc(1000), callback: (size, buffer) => { sum.update(buffer.subarray(0, size)); return true; } } }));
    tell([flowing, paused, own]);
  `,
    { port },
  );
  const digest = createHash('sha256').update(greeting).update('and back').digest('hex');
  t.same(result, [digest, digest, digest]);
});

t.test('a response that breaks off is an error, one that ends is whole: with and without TLS, read slowly', async (t) => {
  if (!requireTools(t, { openssl: 'openssl' })) return;
  const { key, cert, certFile } = certificate(t);
  const size = 3 * 1024 * 1024;
  const serve: RequestListener = ({ url, socket }, response) => {
    response.writeHead(200, { connection: 'close', 'transfer-encoding': 'identity' });
    response.write(Buffer.alloc(size), () => {
      if (url === '/whole') response.end();
      else setTimeout(() => (socket instanceof TLSSocket ? rawOf(socket) : socket).resetAndDestroy(), 100);
    });
  };
  const raws = new Map<number | undefined, Socket>();
  const rawOf = (socket: TLSSocket) => raws.get(socket.remotePort) ?? socket;
  const secure = createHttps({ key, cert }, serve);
  secure.on('connection', (socket: Socket) => raws.set(socket.remotePort, socket));
  const ports = [await listening(t, createHttp(serve)), await listening(t, secure)];
  const { run } = await stage(t, ports);
  const result = await run(
    `
    import http from 'node:http';
    import https from 'node:https';
    const read = (client, url) => new Promise((resolve) => client.get(url, async (response) => {
      let size = 0;
      try {
        for await (const part of response) { size += part.length; await new Promise((resolve) => setTimeout(resolve, 1)); }
        resolve(size);
      } catch { resolve('broken'); }
    }).on('error', () => resolve('broken')));
    const [plain, secure] = data.ports;
    tell([
      await read(http, 'http://service.test:' + plain + '/whole'), await read(http, 'http://service.test:' + plain + '/broken'),
      await read(https, 'https://service.test:' + secure + '/whole'), await read(https, 'https://service.test:' + secure + '/broken'),
    ]);
  `,
    { ports },
    { NODE_EXTRA_CA_CERTS: certFile },
  );
  t.same(result, [size, 'broken', size, 'broken']);
});

t.test('a WebSocket, ours and the ws package', async (t) => {
  const http = createHttp();
  const sockets = new WebSocketServer({ server: http });
  sockets.on('connection', (socket) => socket.on('message', (text) => socket.send(`back: ${String(text)}`)));
  const port = await listening(t, http);
  const { run } = await stage(t, [port]);
  const result = await run(
    `
    import { createRequire } from 'node:module';
    const { WebSocket } = createRequire(data.here)('ws');
    const talk = (Socket) => new Promise((resolve, reject) => {
      const socket = new Socket('ws://service.test:' + data.port);
      socket.onopen = () => socket.send('hello');
      socket.onerror = reject;
      socket.onmessage = ({ data }) => { resolve(String(data)); socket.close(); };
    });
    tell([await talk(WebSocket), globalThis.WebSocket ? await talk(globalThis.WebSocket) : 'back: hello']);
  `,
    { port, here: import.meta.url },
  );
  t.same(result, ['back: hello', 'back: hello']);
});

t.test('what is refused is told apart from what is away', async (t) => {
  const { run, proxy } = await stage(t, []);
  const result = await run(`
    import net from 'node:net';
    const attempt = (host, port) => new Promise((resolve) => {
      const socket = net.connect({ host, port });
      socket.on('connect', () => resolve('connected')).on('error', ({ code, host, hostname, port }) => resolve([code, host ?? hostname, port]));
    });
    const fetched = await fetch('http://10.1.2.3/').catch((error) => [error.message, error.cause.code, error.cause.host, error.cause.port]);
    tell([
      fetched,
      await attempt('private.test', 80), await attempt('169.254.169.254', 80), await attempt('fe80::1%lo', 80), await attempt('unlisted.test', 80),
      await attempt('127.0.0.1', 9), await attempt('localhost', 9), await attempt('::1', 9), await attempt('0x7f.1', 9), await attempt('１２７.0.0.1', 9),
      await attempt('away.test', 9), await attempt('lost.test', 80), await attempt('a b', 80), await attempt('x'.repeat(300), 80),
    ]);
  `);
  t.same(result, [
    ['fetch failed', 'network-denied', '10.1.2.3', 80],
    ['network-denied', 'private.test', 80],
    ['network-denied', '169.254.169.254', 80],
    ['network-denied', 'fe80::1%lo', 80],
    ['network-denied', 'unlisted.test', 80],
    ['network-denied', '127.0.0.1', 9],
    ['network-denied', 'localhost', 9],
    ['network-denied', '::1', 9],
    ['network-denied', '0x7f.1', 9],
    ['network-denied', '127.0.0.1', 9],
    ['ECONNREFUSED', 'away.test', 9],
    ['ENOTFOUND', 'lost.test', null],
    ['ENOTFOUND', 'a b', null],
    ['ENOTFOUND', 'x'.repeat(300), null],
  ]);
  await proxy.close();
  t.match(
    await run(`fetch('http://service.test:80/').catch(({ cause }) => tell({ ...cause, message: cause.message }))`),
    { code: 'ECONNREFUSED', host: 'service.test', message: /: the proxy of the sandbox cannot be reached$/ },
    'a proxy that is gone',
  );
});

t.test('names that are resolved before they are connected to', async (t) => {
  const port = await listening(
    t,
    createHttp((_request, response) => response.end('here')),
  );
  const { run } = await stage(t, [port]);
  const result = (await run(
    `
    import dns, { lookup } from 'node:dns';
    import { promisify } from 'node:util';
    const { address, family } = await dns.promises.lookup('service.test');
    const get = async (host) => (await fetch('http://' + host + ':' + data.port)).text();
    const all = await promisify(lookup)('service.test', { all: true });
    const [record] = await new dns.promises.Resolver().resolve4('service.test', { ttl: true });
    const called = await new Promise((resolve) => dns.resolve('service.test', (error, found) => resolve(found)));
    tell({
      address, family, all, promised: await promisify(dns.lookup)('service.test'), record, called,
      literal: await dns.promises.lookup('10.1.2.3'), local: await dns.promises.lookup('localhost'),
      none: await dns.promises.lookup('service.test', 6).catch(({ code }) => code),
      got: await get(address),
    });
  `,
    { port },
  )) as { readonly address: string };
  const { address } = result;
  t.match(address, /^198\.18\./);
  t.same(result, {
    ...{ address, family: 4, all: [{ address, family: 4 }], promised: { address, family: 4 } },
    ...{ record: { address, ttl: 60 }, called: [address], literal: { address: '10.1.2.3', family: 4 } },
    ...{ local: { address: '127.0.0.1', family: 4 }, none: 'ENOTFOUND', got: 'here' },
  });
});

t.test('code may serve itself on the loopback of its sandbox, and a worker thread connects like the rest', async (t) => {
  const port = await listening(
    t,
    createHttp((_request, response) => response.end('outside')),
  );
  const { run } = await stage(t, [port]);
  const result = await run(
    `
    import http from 'node:http';
    import { once } from 'node:events';
    import { Worker } from 'node:worker_threads';
    const server = http.createServer((request, response) => response.end('own')).listen(0);
    await once(server, 'listening');
    const own = await (await fetch('http://localhost:' + server.address().port)).text();
    server.close();
    const thread = new Worker("const { parentPort } = await import('node:worker_threads'); fetch('http://service.test:" + data.port + "').then((answer) => answer.text()).then((text) => parentPort.postMessage(text))", { eval: true });
    const [threaded] = await once(thread, 'message');
    tell([own, threaded]);
  `,
    { port },
  );
  t.same(result, ['own', 'outside']);
});

t.test('a socket that is used again, is destroyed early, has a time limit or no reference', async (t) => {
  const port = await listening(
    t,
    createServer((socket) => socket.on('error', () => {}).end('once')),
  );
  const { run } = await stage(t, [port]);
  const result = await run(
    `
    import net from 'node:net';
    import { once } from 'node:events';
    const address = { host: 'service.test', port: data.port };
    const socket = new net.Socket();
    const texts = [];
    for (let turn = 0; turn < 2; turn += 1) {
      socket.connect(address);
      let text = '';
      const onData = (part) => { text += part; };
      socket.on('data', onData);
      await once(socket, 'close');
      socket.off('data', onData);
      texts.push(text);
    }
    const early = net.connect(address);
    early.destroy();
    const [hadError] = await once(early, 'close');
    const aborted = net.connect({ ...address, signal: AbortSignal.abort() });
    const [{ name }] = await once(aborted, 'error');
    net.connect(address).unref();
    tell([texts, hadError ?? false, early.destroyed, name]);
  `,
    { port },
  );
  t.same(result, [['once', 'once'], false, true, 'AbortError']);
});
