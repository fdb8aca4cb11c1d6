import { getServers } from 'node:dns';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, isIPv4 } from 'node:net';
import t from 'tap';
import { insideDockerLab } from '../lab/docker.js';
import { labCeilings, openEngine, runIn } from './stage.js';

const lab = await insideDockerLab(t, import.meta.url, { nft: 'nftables' });

/**
 * `<expected number of successes> <targets…>`: tries to connect to each, through the proxy's socket if there is one, and prints the
 * results as JSON. Once the expected number has succeeded, the others get one more second; the limit is ten seconds.
 */
const tryAll = `
const { connect } = require('node:net');
const { request } = require('node:http');
const socketPath = process.env.PEERWORK_PROXY_SOCKET;
const get = (socket, done) => {
  let text = '';
  socket.on('data', (chunk) => { text += chunk; });
  socket.on('end', () => done(text.split('\\r\\n\\r\\n')[1]));
  socket.write('GET / HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n');
};
const [wanted, ...targets] = process.argv.slice(1);
let giveUp;
const patience = new Promise((resolve) => { giveUp = resolve; });
let left = Number(wanted);
setTimeout(giveUp, left === 0 ? 1500 : 10000);
const attempt = (target) => new Promise((resolve) => {
  const done = (answer) => {
    resolve(answer);
    if (String(answer).startsWith('hello') && --left === 0) setTimeout(giveUp, 1000);
  };
  patience.then(() => resolve('no answer'));
  const [, host, port] = /^(.*):(\\d+)$/.exec(target);
  if (socketPath) {
    const tunnel = request({ socketPath, method: 'CONNECT', path: target }).end();
    tunnel.on('error', (error) => done(error.code));
    tunnel.on('connect', (response, socket) => response.statusCode === 200 ? get(socket, done) : done(String(response.statusCode)));
    return;
  }
  const socket = connect({ host, port: Number(port), family: 4 }, () => get(socket, done));
  socket.on('error', (error) => done(error.code));
});
Promise.all(targets.map(async (target) => [target, await attempt(target)]))
  .then((all) => { console.log(JSON.stringify(Object.fromEntries(all))); process.exit(); });
`;

if (lab !== undefined) {
  const machines = ['9.9.9.9', '192.168.77.5', '169.254.169.254', '100.100.100.200', '168.63.129.16'];
  for (const address of machines) await lab.addMachine(address);
  const [plain, obedient] = await Promise.all([lab.nodeImage(), lab.nodeImage('peerwork-test/obedient:1', ['peerwork.egress=proxy'])]);
  const here = createServer((_request, response) => response.end('hello from the host')).listen(0, '0.0.0.0');
  await once(here, 'listening');
  const { port } = here.address() as AddressInfo;
  t.teardown(() => here.close());
  // The gateway of the first network is this machine, too.
  const gateway = lab.engine === 'docker' ? '172.17.0.1' : '10.89.0.1';
  const own = [`127.0.0.1:${port}`, `${gateway}:${port}`, `198.19.1.1:${port}`];
  const ownName = lab.engine === 'docker' ? 'host.docker.internal' : 'host.containers.internal';
  const targets = [...machines.map((address) => `${address}:80`), ...own];
  const command = (wanted: number) => ['node', '-e', tryAll, String(wanted), ...targets, `${ownName}:${port}`];
  const proxied = { 'peerwork.egress': 'proxy' };
  const open: Record<string, string> = { '9.9.9.9:80': 'hello from 9.9.9.9' };
  const reached = (stdout: string) => {
    const all = Object.entries(JSON.parse(stdout) as Record<string, string>);
    return Object.fromEntries(all.filter(([, answer]) => answer.startsWith('hello')));
  };

  t.test('without a network a container reaches nothing', async (t) => {
    const engine = await openEngine(t);
    const { stdout } = await runIn(engine, plain, command(0));
    t.same(reached(stdout), {});
  });

  for (const [way, image, imageLabels] of [['the firewall', plain, {}] as const, ['the proxy', obedient, proxied] as const]) {
    t.test(`by ${way} a container reaches the internet, and neither the LAN, nor metadata services, nor this machine`, async (t) => {
      const engine = await openEngine(t);
      const { stdout, exit } = await runIn(engine, image, command(1), {}, { network: 'internet', imageLabels });
      t.equal(exit.exitCode, 0);
      t.same(reached(stdout), open);
    });

    t.test(`by ${way} a container with listed hosts reaches these alone`, async (t) => {
      const ceilings = { ...labCeilings, network: { internet: true, hosts: ['192.168.77.5:80'] } };
      const engine = await openEngine(t, { ceilings });
      const wish = { network: ['192.168.77.5:80', '169.254.169.254:80'], trusted: [`${ownName}:${port}`], imageLabels };
      const { stdout } = await runIn(engine, image, command(2), {}, wish);
      t.same(reached(stdout), {
        '192.168.77.5:80': 'hello from 192.168.77.5',
        [`${ownName}:${port}`]: 'hello from the host',
        // The address of that name in this network.
        ...(way === 'the firewall' && lab.engine === 'podman' && { [`${gateway}:${port}`]: 'hello from the host' }),
      });
    });
  }

  const nameServer = getServers().find((address) => isIPv4(address) && !address.startsWith('127.'));
  t.test(
    'behind the firewall the name server of this machine can be asked for names, and for nothing else',
    { skip: nameServer === undefined },
    async (t) => {
      await lab.addMachine(String(nameServer), [53, 80]);
      const probe = (wanted: number) => ['node', '-e', tryAll, String(wanted), `${nameServer}:53`, `${nameServer}:80`];
      const engine = await openEngine(t);
      const open = await runIn(engine, plain, probe(1), {}, { network: 'internet' });
      t.same(Object.keys(reached(open.stdout)), [`${nameServer}:53`]);
      const listed = await runIn(engine, plain, probe(0), {}, { network: ['9.9.9.9:80'] });
      t.same(reached(listed.stdout), {}, 'names of listed hosts are resolved by the worker');
    },
  );

  t.test('networks and rules of a job are gone with it', async (t) => {
    t.notMatch(await lab.docker('network', 'ls'), /peerwork/);
    t.notMatch(await lab.run('nft', ['list', 'tables']), /peerwork/);
  });

  // Podman has no daemon that could be remote.
  if (lab.engine === 'docker') {
    t.test('where nothing can filter, a job with a network fails, unless the owner lets it', async (t) => {
      // An engine behind TCP may be anywhere: its bridges are not this machine's.
      const remote = createTcpServer({ allowHalfOpen: true }, (client) => {
        const engine = connect({ path: lab.socket, allowHalfOpen: true });
        client.pipe(engine).pipe(client);
        for (const socket of [client, engine]) socket.on('error', () => [client, engine].map((each) => each.destroy()));
      }).listen(0, '127.0.0.1');
      await once(remote, 'listening');
      t.teardown(() => remote.close());
      const environment = { ...process.env, DOCKER_HOST: `tcp://127.0.0.1:${(remote.address() as AddressInfo).port}` };
      const engine = await openEngine(t, { environment });
      t.equal(engine.facts.local, false);
      for (const [image, imageLabels] of [[plain, {}] as const, [obedient, proxied] as const])
        await t.rejects(runIn(engine, image, ['node', '-v'], {}, { network: 'internet', imageLabels }), { code: 'egress-unavailable' });
      t.same(reached((await runIn(engine, plain, command(0))).stdout), {}, 'without a network it runs');
      const opened = await openEngine(t, { environment, ceilings: { ...labCeilings, unfiltered: true } });
      const { stdout } = await runIn(opened, plain, command(7), {}, { network: 'internet' });
      t.equal(reached(stdout)['192.168.77.5:80'], 'hello from 192.168.77.5', 'the owner has said so');
    });
  }
}
