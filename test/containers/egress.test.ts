import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import t, { type Test } from 'tap';
import { firewallRules } from '../../src/containers/egress/firewall-rules.js';
import { PublicInternet } from '../../src/egress/addresses.js';
import {
  ceilingOf,
  effectivePolicy,
  heldNetwork,
  type NetworkCeiling,
  type NetworkWish,
  type OwnerNetwork,
  readTarget,
} from '../../src/egress/policy.js';
import { EgressProxy, type EgressProxyOptions } from '../../src/egress/proxy.js';

const elsewhere = new PublicInternet([]);

async function proxyFor(
  t: Test,
  options: Partial<EgressProxyOptions> & { wish?: NetworkWish; ceiling?: NetworkCeiling; trusted?: string[] },
) {
  const policy = effectivePolicy(options.wish ?? 'internet', options.ceiling ?? { internet: true, hosts: [] }, options.trusted);
  const refused: string[] = [];
  const proxy = await EgressProxy.open({
    policy,
    internet: elsewhere,
    onRefused: (target, reason) => refused.push(`${target} ${reason}`),
    ...options,
  });
  t.teardown(() => proxy.close());
  /** Returns the status of CONNECT, and the body of `GET /` through the stream. */
  const get = (target: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const tunnel = request({ socketPath: proxy.socketPath, method: 'CONNECT', path: target });
      tunnel.once('error', reject);
      tunnel.once('connect', (response, socket) => {
        if (response.statusCode !== 200) {
          socket.destroy();
          return resolve(String(response.statusCode));
        }
        let text = '';
        socket.on('data', (chunk) => {
          text += String(chunk);
        });
        socket.once('end', () => resolve(text.slice(text.indexOf('\r\n\r\n') + 4)));
        socket.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
      });
      tunnel.end();
    });
  return { proxy, get, refused };
}

async function server(t: Test, text: string, host = '127.0.0.1'): Promise<number> {
  const http = createServer((_request, response) => response.end(text)).listen(0, host);
  await once(http, 'listening');
  t.teardown(() => http.close());
  return (http.address() as AddressInfo).port;
}

t.test('every address that is not public is told from those that are', async (t) => {
  const closed = [
    ...[
      '0.0.0.0',
      '10.1.2.3',
      '100.64.0.1',
      '100.100.100.200',
      '127.0.0.1',
      '127.255.255.254',
      '169.254.169.254',
      '172.16.0.1',
      '172.31.255.255',
    ],
    ...['192.0.0.192', '192.168.1.1', '198.18.0.1', '224.0.0.1', '239.255.255.250', '255.255.255.255', '168.63.129.16', '203.0.113.5'],
    ...[
      '::',
      '::1',
      '::ffff:127.0.0.1',
      '::ffff:8.8.8.8',
      '64:ff9b::a00:1',
      'fe80::1',
      'fc00::1',
      'fd00:ec2::254',
      'ff02::1',
      '2002:7f00:1::',
      '2001::1',
    ],
    ...['2001:db8::1', 'localhost', ''],
  ];
  for (const address of closed) t.notOk(elsewhere.has(address), address || 'nothing');
  for (const address of ['1.1.1.1', '8.8.8.8', '172.32.0.1', '100.128.0.1', '2606:4700::1111']) t.ok(elsewhere.has(address), address);
  const here = new PublicInternet([
    { address: '8.8.8.8', cidr: '8.8.8.8/24' },
    { address: '2606:4700::5', cidr: '2606:4700::5/64' },
  ]);
  for (const address of ['8.8.8.8', '8.8.8.1', '2606:4700::1111']) t.notOk(here.has(address), `${address} is in a network of this machine`);
  t.ok(here.has('8.8.4.4'));
});

t.test('all ways to write an address are read as one', async (t) => {
  for (const written of [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '0177.0.0.1',
    '017700000001',
    '１２７.0.0.1',
    '127.0.0.1.',
  ])
    t.same(readTarget(`${written}:80`), { host: '127.0.0.1', port: 80 }, written);
  t.same(readTarget('[::ffff:127.0.0.1]:80'), { host: '::ffff:7f00:1', port: 80 });
  t.same(readTarget('[0:0:0:0:0:0:0:1]:80'), { host: '::1', port: 80 });
  t.same(readTarget('EXAMPLE.com.:443'), { host: 'example.com', port: 443 });
  for (const nonsense of ['', 'x', 'x:', 'x:0', 'x:65536', 'a@b:80', 'a/b:80', 'x:80/', '[::1%eth0]:80', '::1:80', 'a b:80'])
    t.equal(readTarget(nonsense), undefined, nonsense);
});

t.test('the policy is the lower of what the job asks and what the owner allows', async (t) => {
  const internet = { internet: true, hosts: ['nas.lan:80'] };
  const few = { internet: false, hosts: ['nas.lan:80', 'example.com:443'] };
  const none = { internet: false, hosts: [] };
  const of = (wish: NetworkWish, ceiling: NetworkCeiling, trusted?: string[]) => {
    const { mode, listed, trusted: free } = effectivePolicy(wish, ceiling, trusted);
    return [mode, [...listed].join(), [...free].join()];
  };
  t.same(of('none', internet), ['none', '', '']);
  t.same(of('internet', none), ['none', '', '']);
  t.same(of('internet', internet), ['internet', '', ''], 'what the owner opens of the own network is for tasks that ask for it');
  t.same(of('internet', few), ['listed', 'nas.lan:80,example.com:443', '']);
  t.same(of('lan', internet), ['internet', '', 'nas.lan:80']);
  t.same(of('lan', few), ['listed', '', 'nas.lan:80,example.com:443']);
  t.same(of('lan', none), ['none', '', '']);
  t.same(of(['a.example:80', 'NAS.lan:80'], internet), ['listed', 'a.example:80', 'nas.lan:80']);
  t.same(of(['nas.lan', '10.0.0.5'], { internet: false, hosts: ['nas.lan:80', '10.0.0.5', 'fd00::1'] }), [
    'listed',
    '',
    '10.0.0.5:*,nas.lan:80',
  ]);
  t.same(of('lan', ceilingOf(['FD00::0:1', '[fd00::2]:80', '0x0a.5'])), ['listed', '', '[fd00::1]:*,[fd00::2]:80,10.0.0.5:*']);
  t.same(ceilingOf('internet'), { internet: true, hosts: [] });
  t.same(ceilingOf(['none', 'NAS.lan']), { internet: false, hosts: ['nas.lan:*'] });
  t.same(
    ['internet', 'none', ['internet', '10.0.0.5'], ['10.0.0.5']].map((words) => heldNetwork(words as OwnerNetwork)),
    ['allow', 'deny', 'allow', 'hosts'],
  );
  t.same(of(['a.example:80', 'example.com:443'], few), ['listed', '', 'example.com:443']);
  t.same(of(['a.example:80'], none), ['none', '', '']);
  t.same(of('internet', none, ['10.0.0.5:6379']), ['listed', '', '10.0.0.5:6379'], 'what comes with the job from its source');
  t.throws(() => of(['a example'], internet), { code: 'container-invalid' });
  t.throws(() => of(['deny'], internet), { code: 'container-invalid' }, 'a name without a dot may be a word that is written wrong');
});

t.test('the proxy lets nothing through to this machine or its network, however it is written', async (t) => {
  const port = await server(t, 'secret');
  const { get, refused } = await proxyFor(t, {});
  const targets = [
    '127.0.0.1',
    'localhost',
    'LOCALHOST.',
    '127.1',
    '2130706433',
    '0x7f.0.0.1',
    '0',
    '0.0.0.0',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[::]',
  ];
  const others = [
    '169.254.169.254',
    '[fd00:ec2::254]',
    '10.0.0.1',
    '192.168.1.1',
    '[fe80::1]',
    '[::ffff:10.0.0.1]',
    '[64:ff9b::7f00:1]',
    '224.0.0.1',
  ];
  for (const host of [...targets, ...others, 'host.docker.internal', 'host.containers.internal', 'tunnel.peerwork'])
    t.equal(await get(`${host}:${port}`), '403', host);
  t.equal(refused.length, new Set(refused).size, 'each is told once');
});

t.test('a name that resolves to the network of the owner is refused, and rebinding changes nothing', async (t) => {
  const port = await server(t, 'secret');
  const answers = [['192.168.1.1'], ['127.0.0.1'], ['::ffff:10.0.0.1', 'fe80::1']];
  const requested: string[] = [];
  const { get } = await proxyFor(t, {
    lookup: async (host) => {
      requested.push(host);
      return answers[requested.length - 1] ?? [];
    },
  });
  for (const _ of answers) t.equal(await get(`rebind.example:${port}`), '403');
  t.equal(requested.length, answers.length, 'asked once for each stream: what was checked is what is connected to');
  const mixed = await proxyFor(t, { internet: new PublicInternet([]), lookup: async () => ['127.0.0.1', '10.0.0.1'] });
  t.equal(await mixed.get(`half.example:${port}`), '403');
});

t.test('what was allowed is reached: pairs of the owner or the source, ports of this machine, the tunnel', async (t) => {
  const port = await server(t, 'hello');
  const other = await server(t, 'other');
  const { get } = await proxyFor(t, {
    wish: 'lan',
    ceiling: { internet: false, hosts: [`127.0.0.1:${port}`] },
    trusted: [`host.docker.internal:${port}`],
    tunnel: () => ({ open: async () => connect(other, '127.0.0.1') }),
  });
  t.equal(await get(`127.0.0.1:${port}`), 'hello');
  t.equal(await get(`127.1:${port}`), 'hello', 'the same written differently');
  t.equal(await get(`host.docker.internal:${port}`), 'hello');
  t.equal(await get(`127.0.0.1:${other}`), '403', 'another port is not');
  t.equal(await get(`host.docker.internal:${other}`), '403');
  t.equal(await get('tunnel.peerwork:6379'), 'other');
});

t.test('a listed host is held to public addresses unless the owner has named it', async (t) => {
  const port = await server(t, 'hello');
  const wish = [`site.example:${port}`];
  const lookup = async () => ['127.0.0.1'];
  const byJob = await proxyFor(t, { wish, lookup });
  t.equal(await byJob.get(`site.example:${port}`), '403');
  const byOwner = await proxyFor(t, { wish, lookup, ceiling: { internet: true, hosts: wish } });
  t.equal(await byOwner.get(`site.example:${port}`), 'hello');
  t.equal(await byOwner.get(`other.example:${port}`), '403');
});

t.test('the proxy knows nothing but CONNECT, tells a dead target, and ends its streams with it', async (t) => {
  const port = await server(t, 'hello');
  const dead = port === 1 ? 2 : 1;
  const { proxy, get } = await proxyFor(t, { wish: 'lan', ceiling: { internet: true, hosts: [`127.0.0.1:${port}`, `127.0.0.1:${dead}`] } });
  const plain = request({ socketPath: proxy.socketPath, path: `http://127.0.0.1:${port}/` }).end();
  const [response] = await once(plain, 'response');
  t.equal(response.statusCode, 405);
  response.setEncoding('utf8');
  t.equal((await response.toArray()).join(''), 'This proxy supports only CONNECT.\n');
  t.equal(await get(`127.0.0.1:${dead}`), '502');
  const open = request({ socketPath: proxy.socketPath, method: 'CONNECT', path: `127.0.0.1:${port}` }).end();
  const [, socket] = await once(open, 'connect');
  const closed = once(socket, 'close');
  await proxy.close();
  socket.resume();
  await closed;
});

t.test('the sockets of a process that was killed are removed by the next one', async (t) => {
  const program = `
    const { EgressProxy } = await import(${JSON.stringify(new URL('../../src/egress/proxy.js', import.meta.url).href)});
    const policy = { mode: 'none', listed: new Set(), trusted: new Set() };
    console.log((await EgressProxy.open({ policy })).socketPath);
    if (process.argv[1] === 'die') process.kill(process.pid, 'SIGKILL');
    process.exit();`;
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ['--input-type=module', '-e', program, ...args], { encoding: 'utf8' }).stdout.trim();
  const left = run('die');
  t.ok(existsSync(left), 'it is still there');
  const second = run();
  t.notOk(existsSync(dirname(left)));
  rmSync(dirname(second), { recursive: true });
});

t.test('the rules of the firewall drop all that they do not name', async (t) => {
  const plan = { table: 'peerwork_x_1', bridge: 'pw1', own: ['8.8.8.8/24', 'fe80::1/64'], nameServers: ['192.168.1.1'] };
  const open = firewallRules({ ...plan, internet: true, openings: [{ address: '10.0.0.5', port: 6379 }] });
  t.match(open, /elements = \{.*10\.0\.0\.0\/8.*8\.8\.8\.8\/24 \}/);
  t.match(
    open,
    /ip daddr 10\.0\.0\.5 tcp dport 6379 accept\n.*192\.168\.1\.1 meta l4proto \{ tcp, udp \} th dport 53 accept\n.*@closed drop\n.*nfproto ipv4 accept\n {4}drop/,
  );
  const listed = firewallRules({ ...plan, internet: false, openings: [], nameServers: [] });
  t.notMatch(listed, /nfproto ipv4 accept|dport/);
});
