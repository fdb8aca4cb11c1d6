import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, realpath, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { FOLDER_PREFIX } from '../../src/egress/proxy.js';
import type { Json, Progress } from '../../src/job/job.js';
import type { Workplace } from '../../src/job/runner.js';
import type { Tunnel } from '../../src/job/source.js';
import type { TaskModuleOptions } from '../../src/runners/task-module/options.js';
import { TaskModuleRunner } from '../../src/runners/task-module/task-module-runner.js';
import { insideNetNamespace, openNetWorld, outcomeOf } from '../lab/net-world.js';
import { removeFolder } from '../lab/remove-folder.js';

const fixture = fileURLToPath(new URL('../../../test/fixtures/task-network', import.meta.url));

/** Jobs of one runner: `run(what, settings)` returns the output and the lines of the log. */
async function stage(t: Test, options: Partial<TaskModuleOptions> = {}) {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'peerwork-task-network-')));
  t.teardown(() => removeFolder(folder));
  const runner = await TaskModuleRunner.start({ concurrency: 1, scratchFolder: join(folder, 'scratch'), sandbox: 'required', ...options });
  t.teardown(() => runner.close());
  const place = async (settings: Json): Promise<Workplace> => {
    const digest = JSON.stringify(settings);
    const task = join(folder, Buffer.from(digest).toString('hex'));
    await mkdir(task, { recursive: true });
    await cp(fixture, task, { recursive: true });
    await writeFile(join(task, 'task.json'), digest);
    return { digest, folder: task, entry: 'task.cjs', readable: [task] };
  };
  const run = async (data: Json, settings: Json = {}, more: { tunnel?: Tunnel; report?: (progress: Progress) => void } = {}) => {
    const lines: string[] = [];
    const outcome = await runner.run(
      { id: 'a-job', channel: 'default', data, attempt: 1, timeoutMs: 60_000 },
      {
        workplace: await place(settings),
        signal: new AbortController().signal,
        report: (progress) => {
          more.report?.(progress);
          if (progress.kind === 'log') lines.push(progress.line);
        },
        ...(more.tunnel !== undefined && { tunnel: more.tunnel }),
      },
    );
    return { output: outcome.state === 'completed' ? outcome.output : (outcome as unknown as Json), lines };
  };
  return { run, runner };
}

if (await insideNetNamespace(t, import.meta.url)) {
  const closed: Readonly<Record<string, string>> = {
    ...{ 'RFC 1918, 10/8': '10.1.2.3', 'RFC 1918, 172.16/12': '172.16.5.5', 'RFC 1918, 192.168/16': '192.168.77.5' },
    ...{ 'carrier NAT, 100.64/10': '100.64.0.9', 'metadata of Alibaba': '100.100.100.200', 'metadata, 169.254.169.254': '169.254.169.254' },
    ...{ 'link-local, 169.254/16': '169.254.7.7', 'metadata of Oracle': '192.0.0.192', 'the host node of Azure': '168.63.129.16' },
    ...{ 'benchmarks, 198.18/15': '198.18.0.5', 'documentation, 203.0.113/24': '203.0.113.5', 'reserved, 240/4': '240.0.0.1' },
    ...{
      'unique local, fc00::/7': 'fd00:ec2::254',
      'translated, 64:ff9b::/96': '64:ff9b::a01:203',
      'translated, 64:ff9b:1::/48': '64:ff9b:1::a01:203',
    },
    ...{ '6to4, 2002::/16': '2002:a01:203::1', 'Teredo, 2001::/32': '2001::1', 'site-local, fec0::/10': 'fec0::5' },
    ...{ 'IPv4-compatible, ::/96': '::10.1.2.3', 'documentation, 2001:db8::/32': '2001:db8::5' },
  };
  const names = {
    ...{ 'public.example': ['9.9.9.9'], 'six.example': ['2620:fe::9'], 'mixed.example': ['10.1.2.3', '9.9.9.9'] },
    ...{
      'lan.example': ['10.1.2.3'],
      'nas.example': ['192.168.77.5'],
      'loop.example': ['127.0.0.1'],
      'mapped.example': ['::ffff:10.1.2.3'],
    },
  };
  const others = [...Object.values(closed), '9.9.9.9', '2620:fe::9', 'fe80::5/64'];
  await openNetWorld(t, { others, own: ['192.168.77.1/24', '8.8.4.4/24', 'fd77::1/64', '2620:fe:77::1/64'], names });
  const here = createServer((socket) => socket.on('error', () => {}).end('this machine')).listen(8080, '::');
  const abstract = createServer((socket) => socket.end()).listen('\0peerwork-test');
  await Promise.all([once(here, 'listening'), once(abstract, 'listening')]);
  t.teardown(() => {
    here.close();
    abstract.close();
  });

  t.test('a task reaches the public internet and nothing else', async (t) => {
    for (const host of [...Object.values(closed), '9.9.9.9', '2620:fe::9', 'fe80::5%w0'])
      t.equal(await outcomeOf({ host, port: 80 }), 'connected', `${host} is there without the wall`);
    const { run } = await stage(t);
    const own = {
      loopback: '127.0.0.1',
      'loopback, 127/8': '127.8.8.8',
      'IPv6 loopback': '::1',
      localhost: 'localhost',
      'this host, 0.0.0.0': '0.0.0.0',
    };
    const ours = {
      ...own,
      'this host, ::': '::',
      'own address in the LAN': '192.168.77.1',
      'own public address': '8.8.4.4',
      'own public IPv6 address': '2620:fe:77::1',
    };
    const spelled = {
      ...{
        hexadecimal: '0x7f000001',
        'one number': '2130706433',
        octal: '0177.0.0.1',
        short: '127.1',
        'full-width': '１２７.0.0.1',
        'a dot behind': '127.0.0.1.',
      },
      ...{
        mapped: '::ffff:127.0.0.1',
        'mapped, in hexadecimal': '::ffff:7f00:1',
        'host.docker.internal': 'host.docker.internal',
        'loop.example': 'loop.example',
      },
    };
    const elsewhere = {
      ...{
        'mapped, LAN': '::ffff:10.1.2.3',
        'link-local IPv6': 'fe80::5',
        'link-local IPv6 with a zone': 'fe80::5%w0',
        multicast: '224.0.0.1',
        'IPv6 multicast': 'ff02::1',
      },
      ...{ broadcast: '255.255.255.255', 'broadcast of the LAN': '192.168.77.255', 'a neighbour with a public address': '8.8.4.9' },
      ...{ 'a name of the LAN': 'lan.example', 'a name of a mapped address': 'mapped.example', 'LAN in one number': '167838211' },
    };
    const at = (hosts: Readonly<Record<string, string>>, port: number) =>
      Object.entries(hosts).map(([name, host]) => [name, { host, port }] as const);
    const denied = [...at({ ...closed, ...elsewhere }, 80), ...at({ ...ours, ...spelled }, 8080)];
    const { output } = await run({ do: 'connects', targets: denied as unknown as Json });
    for (const [name] of denied) t.equal((output as Record<string, string>)[name], 'network-denied', name);

    const open = at(
      { public: '9.9.9.9', 'public IPv6': '2620:fe::9', 'a public name': 'public.example', 'a public IPv6 name': 'six.example' },
      80,
    );
    const reached = await run({ do: 'connects', targets: open as unknown as Json });
    for (const [name] of open) t.equal((reached.output as Record<string, string>)[name], 'connected', name);
    t.equal((await run({ do: 'fetches', url: 'http://mixed.example/' })).output, '9.9.9.9', 'of a name its public address');
    const others = {
      'a server that is away': { host: '9.9.9.9', port: 81 },
      'a name that nobody has': { host: 'nobody.invalid', port: 80 },
    };
    const { output: away } = await run({ do: 'connects', targets: Object.entries(others) as unknown as Json });
    t.equal((away as Record<string, string>)['a server that is away'], 'ECONNREFUSED');
    t.match((away as Record<string, string>)['a name that nobody has'], /^(ENOTFOUND|EAI_AGAIN)$/);
  });

  t.test('what is refused says what, and who allows it, in the error and once in the log', async (t) => {
    const { run } = await stage(t);
    const targets = Array.from({ length: 5 }, (_, at) => [`${at}`, { host: '10.1.2.3', port: 80 }]);
    const { lines } = await run({ do: 'connects', targets });
    t.match(lines, [/^network-denied: 10\.1\.2\.3:80: it is not on the public internet.*--task-network.*task\.json/]);
    t.equal(lines.length, 1);
    t.equal((await run({ do: 'connects', targets })).lines.length, 1, 'the next job is told as well');
    const { output } = await run({ do: 'fetches', url: 'http://9.9.9.9/?to=http://10.1.2.3/' });
    t.match(
      output,
      { code: 'network-denied', host: '10.1.2.3', port: 80, message: /^network-denied: 10\.1\.2\.3:80: / },
      'after a redirect',
    );
  });

  t.test('the network of the owner: for tasks that ask, as far as the owner names it', async (t) => {
    const { run } = await stage(t, { network: ['internet', '10.1.2.3', 'nas.example:80', '127.0.0.1:8080'] });
    const targets = [
      ...[
        ['address', { host: '10.1.2.3', port: 7777 }],
        ['name', { host: 'nas.example', port: 80 }],
        ['loopback', { host: 'localhost', port: 8080 }],
      ],
      ...[
        ['its address', { host: '192.168.77.5', port: 80 }],
        ['its other port', { host: 'nas.example', port: 7777 }],
      ],
      ...[
        ['another', { host: '172.16.5.5', port: 80 }],
        ['public', { host: '9.9.9.9', port: 80 }],
        ['127.0.0.1', { host: '127.0.0.1', port: 8080 }],
      ],
    ] as unknown as Json;
    const ask = async (network: Json) => (await run({ do: 'connects', targets }, { network })).output as Record<string, string>;
    const [yes, no] = ['connected', 'network-denied'];
    const base = { 'its address': no, 'its other port': no, another: no, loopback: no };
    t.same(await ask('internet'), { ...base, address: no, name: no, public: yes, '127.0.0.1': no });
    t.same(await ask('lan'), { ...base, address: yes, name: yes, public: yes, '127.0.0.1': yes });
    t.same(await ask(['nas.example', '9.9.9.9:80']), { ...base, address: no, name: yes, public: yes, '127.0.0.1': no });
    t.same(await ask(['10.1.2.3:80']), { ...base, address: no, name: no, public: no, '127.0.0.1': no });
    t.same(await ask('none'), { ...base, address: no, name: no, public: no, '127.0.0.1': no });
    const narrow = await stage(t, { network: ['9.9.9.9:80'] });
    const { output } = await narrow.run({ do: 'connects', targets });
    t.same(output, { ...base, address: no, name: no, public: yes, '127.0.0.1': no });
  });

  t.test('sockets of this machine, relays, listening, datagrams and name servers lead nowhere', async (t) => {
    const { run } = await stage(t);
    const socket = join(tmpdir(), `peerwork-test-${process.pid}.sock`);
    const server = createServer((client) => client.end()).listen(socket);
    await once(server, 'listening');
    t.teardown(() => server.close());
    t.equal(await outcomeOf({ path: '\0peerwork-test' }), 'connected', 'the abstract socket is there');
    const targets = [
      ['abstract', { path: '\0peerwork-test' }],
      ['path', { path: socket }],
    ];
    t.same((await run({ do: 'connects', targets })).output, { abstract: 'ECONNREFUSED', path: 'ENOENT' });
    t.equal((await run({ do: 'relays', host: '10.1.2.3', port: 80 })).output, 'network-denied');
    t.equal((await run({ do: 'sends datagrams', host: '9.9.9.9' })).output, 'ENETUNREACH');
    t.match((await run({ do: 'resolves', name: 'public.example' })).output, /^E/);
    const tried: Promise<string[]>[] = [];
    const report = ({ kind }: Progress) => {
      if (kind === 'progress')
        tried.push(Promise.all(['127.0.0.1', '192.168.77.1', '::1'].map((host) => outcomeOf({ host, port: 9_999 }))));
    };
    const { output } = await run({ do: 'listens', port: 9_999, forMs: 300 }, {}, { report });
    t.same(await tried[0], ['ECONNREFUSED', 'ECONNREFUSED', 'ECONNREFUSED']);
    t.same(output, { came: 1, own: 'from the sandbox' }, 'but a task may serve itself');
  });

  t.test('every byte arrives at a slow reader', async (t) => {
    const { run } = await stage(t);
    const size = 8 * 1024 * 1024;
    t.equal((await run({ do: 'reads slowly', url: `http://public.example/?bytes=${size}` })).output, size + '9.9.9.9'.length);
  });

  t.test('a tunnel is reached in both tiers, by the job that it was opened for', async (t) => {
    const echo = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
    await once(echo, 'listening');
    t.teardown(() => echo.close());
    const { port } = echo.address() as AddressInfo;
    const tunnel: Tunnel = { open: async () => connect({ port, host: '127.0.0.1', allowHalfOpen: true }) };
    for (const sandbox of ['required', 'off'] as const) {
      const { run } = await stage(t, { sandbox });
      t.equal((await run({ do: 'uses its tunnel' }, {}, { tunnel })).output, 'hello', sandbox);
    }
    const { run } = await stage(t);
    t.equal(
      (await run({ do: 'uses its tunnel' }, { network: 'none' }, { tunnel })).output,
      'hello',
      'it is no way into the owner’s network',
    );
    t.equal(
      (await run({ do: 'asks a port', host: 'tunnel.peerwork', port: 1 }, { network: 'none' }, { tunnel })).output,
      'network-denied',
      'of the job before',
    );
    const lines = (await run({ do: 'uses its tunnel' }, {}, { tunnel: { open: () => Promise.reject(new Error('it is gone')) } })).lines;
    t.match(lines.join('\n'), /it is gone/);
  });

  t.test('nothing is left behind', async (t) => {
    const { run, runner } = await stage(t);
    await run({ do: 'fetches', url: 'http://public.example/' });
    await runner.close();
    const mine = (await readdir(tmpdir())).filter((name) => name.startsWith(`${FOLDER_PREFIX}${process.pid}-`));
    t.same(mine, []);
  });
}
