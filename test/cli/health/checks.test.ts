import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcp } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocketServer } from 'ws';
import { checkEngine } from '../../../src/cli/health/check-engine.js';
import { checkIce } from '../../../src/cli/health/ice.js';
import { checkMemory } from '../../../src/cli/health/machine.js';
import { checkWallClock } from '../../../src/cli/health/wall-clock.js';
import { type Clock, systemClock } from '../../../src/clock.js';
import { limitKinds } from '../../../src/containers/engine-facts.js';
import { PeerworkError } from '../../../src/errors.js';
import { parseIceServers } from '../../../src/swarm/link/ice.js';
import { nodePlatform } from '../../../src/swarm/platform.node.js';
import { checkHttp } from '../../../src/wires/health/check-http.js';
import { checkRedis } from '../../../src/wires/health/check-redis.js';
import { checkTcp } from '../../../src/wires/health/check-tcp.js';
import { checkWebSocket } from '../../../src/wires/health/check-websocket.js';
import { freePort } from '../../lab/free-port.js';
import { LabTool } from '../../lab/lab-tool.js';
import { WatchedRedis } from '../../lab/redis-failover.js';
import { requireTools } from '../../lab/require.js';
import { until } from '../../lab/until.js';

const signal = () => AbortSignal.timeout(20_000);

async function serve(t: Test, status: number): Promise<string> {
  const server = createServer((request, response) => response.writeHead(request.headers['x-key'] === 'right' ? 200 : status).end('x'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

t.test('a Redis is asked with its password', async (t) => {
  if (!requireTools(t, { 'redis-server': 'redis-server' })) return;
  const port = await freePort();
  const redis = new LabTool('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--requirepass', 'right-one']);
  t.teardown(() => redis.stop());
  await redis.said(/Ready to accept/);
  const ask = (url: string) => checkRedis('redis', url, { variable: 'REDIS_URL', signal: signal() });
  t.match(await ask(`redis://:right-one@127.0.0.1:${port}/3`), { state: 'ok', detail: /responded in \d+ ms/ });
  t.match(await ask(`redis://default:right-one@127.0.0.1:${port}`), { state: 'ok' });
  const wrong = await ask(`redis://:wrong-one@127.0.0.1:${port}`);
  t.match(wrong, { state: 'fail', detail: /WRONGPASS/, hint: 'Give REDIS_URL the right password.' });
  t.notMatch(wrong.detail, /wrong-one/);
  t.match(await ask(`redis://127.0.0.1:${port}`), { state: 'fail', detail: /NOAUTH/, hint: /password/ });
  t.match(await ask(`redis://127.0.0.1:${await freePort()}`), { state: 'fail', detail: /ECONNREFUSED/, hint: /Start this Redis/ });
  t.match(await ask('http://127.0.0.1'), { state: 'fail', detail: /neither with redis:/ });
});

t.test('a replica is no place for a queue, and sentinels are asked for the primary', async (t) => {
  if (!requireTools(t, { 'redis-server': 'redis-server' })) return;
  const watched = await WatchedRedis.start(t);
  const ask = (url: string) => checkRedis('redis', url, { variable: 'REDIS_URL', signal: AbortSignal.timeout(10_000) });
  t.match(await ask(watched.replica.url), { state: 'fail', detail: /is a replica/, hint: /primary/ });
  t.match(await ask(watched.url), { state: 'ok' }, 'one sentinel is away, the other answers');
  t.match(await ask(watched.url.replace('/main', '/other')), { state: 'fail', detail: /no primary called other/ });
});

t.test('something that is no Redis, or says nothing, is not waited for', async (t) => {
  const http = await serve(t, 200);
  t.match(await checkRedis('redis', http.replace('http', 'redis'), { variable: 'REDIS_URL', signal: signal() }), { state: 'fail' });
  const silent = createTcp(() => {}).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => silent.close());
  const url = `redis://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  t.match(await checkRedis('redis', url, { variable: 'REDIS_URL', signal: AbortSignal.timeout(200) }), {
    state: 'fail',
    detail: /no response in time/,
  });
});

t.test('an API is asked with its key', async (t) => {
  const ask = async (status: number, headers = {}) =>
    checkHttp('api', await serve(t, status), { variable: 'API', headers, signal: signal(), login: 'Log in.' });
  t.match(await ask(401, { 'x-key': 'right' }), { state: 'ok', detail: /responded 200/ });
  t.match(await ask(401, { 'x-key': 'wrong' }), { state: 'fail', hint: 'Log in.' });
  t.match(await ask(404), { state: 'warn' });
  t.match(await ask(500), { state: 'fail', hint: /log of this server/ });
  const nobody = `http://user:secret-word@127.0.0.1:${await freePort()}`;
  const absent = await checkHttp('api', nobody, { variable: 'API', signal: signal() });
  t.match(absent, { state: 'fail', hint: /fix API/ });
  t.notMatch(absent.detail, /secret-word/);
});

t.test('a WebSocket is opened, an address asked for a connection', async (t) => {
  const ask = (url: string, within = 20_000) =>
    checkWebSocket('openfn', `${url}/?token=secret-word`, {
      shown: url,
      variable: 'SERVICE_URL',
      signal: AbortSignal.timeout(within),
      login: 'Give the secret.',
    });
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  t.teardown(() => server.close());
  const port = (server.address() as AddressInfo).port;
  t.match(await ask(`ws://127.0.0.1:${port}`), { state: 'ok', detail: /responded in/ });
  for (const [status, hint] of [
    [401, 'Give the secret.'],
    [404, 'Check SERVICE_URL.'],
  ] as const)
    t.match(await ask((await serve(t, status)).replace('http', 'ws')), { state: 'fail', detail: new RegExp(`${status}`), hint });
  const closed = await freePort();
  const absent = await ask(`ws://127.0.0.1:${closed}`);
  t.match(absent, { state: 'fail', detail: /ECONNREFUSED/, hint: /fix SERVICE_URL/ });
  t.notMatch(absent.detail, /secret-word/);
  const silent = createTcp(() => {}).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => silent.close());
  t.match(await ask(`ws://127.0.0.1:${(silent.address() as AddressInfo).port}`, 200), { state: 'fail', detail: /no response in time/ });

  const tcp = (at: number) => checkTcp('room', `127.0.0.1:${at}`, { variable: 'PEERS', signal: signal() });
  t.match(await tcp(port), { state: 'ok', detail: /responded in/ });
  t.match(await tcp(closed), { state: 'fail', detail: /ECONNREFUSED/, hint: /fix PEERS/ });
});

t.test('a TURN server must give a relay for its user and password; one that works makes the others warnings', async (t) => {
  if (!requireTools(t, { turnserver: 'coturn' })) return;
  const port = await freePort();
  const args = [
    '-n',
    '--no-cli',
    '--lt-cred-mech',
    '--fingerprint',
    '--listening-ip',
    '127.0.0.1',
    '--relay-ip',
    '127.0.0.1',
    '--listening-port',
    String(port),
  ];
  const turn = new LabTool('turnserver', [
    ...args,
    '--user',
    'lab:secret',
    '--realm',
    'lab',
    '--no-tls',
    '--no-dtls',
    '--allow-loopback-peers',
    '--log-file',
    'stdout',
    '--pidfile',
    '/dev/null',
    '--userdb',
    `${t.testdir()}/turn.db`,
  ]);
  t.teardown(() => turn.stop());
  const ask = (...urls: string[]) =>
    checkIce({ servers: parseIceServers(urls), platform: nodePlatform(), clock: systemClock, signal: signal() });
  await until(async () => (await ask(`stun:127.0.0.1:${port}`))[0]?.state === 'ok');
  const right = `turn:lab:secret@127.0.0.1:${port}`;
  const wrong = `turn:lab:mistaken@127.0.0.1:${port}`;
  const dead = `stun:127.0.0.1:${await freePort()}`;
  t.match(await ask(`stun:127.0.0.1:${port}`, dead, right), [
    { state: 'ok', detail: /responded in/ },
    { state: 'warn' },
    { state: 'ok', detail: /gives a relay/ },
  ]);
  const ill = await ask(dead, wrong);
  t.match(ill, [
    { state: 'fail', hint: /UDP/ },
    { state: 'fail', hint: /user and password/ },
  ]);
  t.notMatch(JSON.stringify(ill), /mistaken/);
  t.match(await ask(), [{ state: 'ok' }]);
});

t.test('a container engine that was demanded must be there', async (t) => {
  const facts = { kind: 'podman', version: '5.1', rootless: true } as const;
  const there = async () => ({ facts: { ...facts, limits: limitKinds } });
  const onPi = async () => ({ facts: { kind: 'docker', version: '28.2', rootless: false, limits: ['cpu', 'pids'] } as const });
  const undelegated = async () => ({ facts: { ...facts, limits: ['memory', 'pids'] as const } });
  const absent = () => Promise.reject(new PeerworkError('sandbox-missing', 'docker is not installed'));
  t.match(await checkEngine(there, { required: true }), { state: 'ok', detail: 'podman 5.1, without root' });
  t.match(await checkEngine(onPi, { required: true }), {
    state: 'warn',
    detail: 'docker 28.2; containers cannot be held to limits of memory',
    hint: /cmdline\.txt/,
  });
  t.match(await checkEngine(undelegated, { required: true }), { state: 'warn', detail: /limits of cores$/, hint: /Delegate=cpu/ });
  t.match(await checkEngine(absent, { required: true }), { state: 'fail', detail: /docker is not installed/ });
  t.match(await checkEngine(absent, { required: false }), {
    state: 'warn',
    detail: /left to others/,
    hint: /or set PEERWORK_CONTAINERS=off\.$/,
  });
});

t.test('a clock that is off is found by what servers say', async (t) => {
  const url = (await serve(t, 426)).replace('http', 'ws');
  const off = (ms: number): Clock => ({ ...systemClock, wall: () => Date.now() + ms });
  const ask = (clock: Clock, urls = [url]) => checkWallClock({ urls, clock, signal: signal() });
  t.match(await ask(systemClock), { state: 'ok' });
  t.match(await ask(off(600_000)), { state: 'warn', detail: /^(599|600|601) s ahead$/, hint: /time service/ });
  t.match(await ask(off(-40 * 86_400_000)), { state: 'fail', detail: /behind/ });
  t.equal(await ask(systemClock, [`ws://127.0.0.1:${await freePort()}`]), undefined, 'nobody told the time');
});

t.test('jobs that could together take more memory than there is are a warning', async (t) => {
  t.match(checkMemory({ concurrency: 2, memoryMb: 512 }, 1024 ** 3), { state: 'ok' });
  t.match(checkMemory({ concurrency: 3, memoryMb: 512 }, 1024 ** 3), { state: 'warn' });
});
