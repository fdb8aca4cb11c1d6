import { broadcast, groups, others, own, publics, router } from './addresses.js';
import type { Aim, Attack, Group, Tier, Verdict } from './attack.js';

/** A task module in the tier process has the Worker's network: docs/isolation.md says so wherever it names the tier. */
const OPEN: Partial<Record<Tier, Verdict>> = { process: 'open' };
/** A firewall knows addresses only: docs/containers.md. */
const resolvedHosts = { expected: { process: 'open', container: 'open' } } as const;
const PROXY_ONLY: Partial<Record<Tier, Verdict>> = { process: 'n/a' };

const attack = (group: Group, name: string, body: string, w: Attack['w'], more: Partial<Attack> = {}): Attack => ({
  ...{ name, group, body, evidence: 'reach', expected: OPEN },
  ...(w !== undefined && { w }),
  ...more,
});
const network = (name: string, body: string, w: Attack['w'], more: Partial<Attack> = {}) => attack('network', name, body, w, more);
const bracketed = (host: string) => (host.includes(':') ? `[${host}]` : host);
const connects = (name: string, host: string) => network(name, 'connects to', () => ({ host }));
const fetches = (name: string, host: string, more: Partial<Attack> = {}) =>
  network(name, 'fetches', ({ port, mark }) => ({ url: `http://${bracketed(host)}:${port}/${mark}` }), more);

const addresses: readonly Attack[] = [
  connects('this machine, 127.0.0.1', '127.0.0.1'),
  connects('this machine, 127.8.8.8', '127.8.8.8'),
  connects('this machine, ::1', '::1'),
  connects('this machine, 0.0.0.0', '0.0.0.0'),
  connects('this machine, ::', '::'),
  connects('this machine by its address in the LAN', own.lan),
  connects('this machine by its unique local address', own.ula),
  connects('this machine by its public IPv4 address', own.public4),
  connects('this machine by its public IPv6 address', own.public6),
  connects('a machine of the LAN, 192.168/16', others.lan),
  connects('the router', router),
  connects('10/8', others.ten),
  connects('172.16/12', others.twelve),
  connects('carrier NAT, 100.64/10', others.carrier),
  connects('link-local, 169.254/16', others.linkLocal),
  connects('metadata, 169.254.169.254', others.metadata),
  connects('metadata of Oracle, 192.0.0.192', others.oracle),
  connects('the host node of Azure, 168.63.129.16', others.azure),
  connects('metadata of Alibaba, 100.100.100.200', others.alibaba),
  connects('metadata of Amazon by IPv6, fd00:ec2::254', others.amazon6),
  connects('benchmarking, 198.18/15', others.benchmark),
  connects('documentation, 203.0.113/24', others.documentation),
  connects('reserved, 240/4', others.classE),
  connects('a neighbour with a public IPv4 address', others.neighbour4),
  connects('a neighbour with a public IPv6 address', others.neighbour6),
  connects('unique local, fd00::/8', others.ula),
  network('link-local IPv6, fe80::', 'connects to', ({ zone }) => ({ host: `${others.linkLocal6}%${zone}` })),
  connects('site-local IPv6, fec0::/10', others.siteLocal),
  connects('IPv4 mapped, ::ffff:10.1.2.3', '::ffff:10.1.2.3'),
  connects('IPv4 mapped, ::ffff:7f00:1', '::ffff:7f00:1'),
  connects('IPv4 compatible, ::10.1.2.3', others.compatible),
  connects('IPv4 translated, 64:ff9b::', others.nat64),
  connects('IPv4 translated locally, 64:ff9b:1::', others.localNat64),
  connects('6to4, 2002::/16', others.sixToFour),
  connects('Teredo, 2001::/32', others.teredo),
  connects('documentation IPv6, 2001:db8::/32', others.documentation6),
];

const spellings: readonly Attack[] = [
  connects('127.0.0.1 in hexadecimal', '0x7f000001'),
  connects('127.0.0.1 as one number', '2130706433'),
  connects('127.0.0.1 in octal', '0177.0.0.1'),
  connects('127.0.0.1 shortened', '127.1'),
  connects('127.0.0.1 mixed', '0x7f.1'),
  connects('the LAN in octal', '0300.0250.0115.0005'),
  connects('the LAN as one number', '3232255237'),
  fetches('127.0.0.1 in full-width digits', '１２７.０.０.１'),
  fetches('127.0.0.1 in circled digits', '①②⑦.⓪.⓪.①'),
  fetches('127.0.0.1 with ideographic full stops', '127。0。0。1'),
  fetches('127.0.0.1 with a dot at its end', '127.0.0.1.'),
  fetches('127.0.0.1 percent-encoded', '%31%32%37.0.0.1'),
  network('an address behind a user', 'asks by http', ({ port, mark }) => ({ url: `http://${publics.v4}@${others.lan}:${port}/${mark}` })),
];

const byName: readonly Attack[] = [
  connects('localhost', 'localhost'),
  connects('a name of the LAN', 'lan.example'),
  connects('a name of the LAN, in capitals and with a dot', 'LAN.Example.'),
  connects('a name of loopback', 'loop.example'),
  connects('a name of a mapped address', 'mapped.example'),
  connects('a name of a public address and one of the LAN', 'mixed.example'),
  connects('a name of a unique local address', 'ula.example'),
  connects('metadata by name', 'metadata.google.internal'),
  connects('host.docker.internal', 'host.docker.internal'),
  network('a name that changes while it is asked for', 'asks often for a name that changes', ({ mark }) => ({
    host: `${mark}.rebind.example`,
  })),
  network('a redirect of a public server into the LAN', 'fetches', ({ port, mark }) => ({
    url: `http://public.example:${port}/to/${encodeURIComponent(`http://${others.lan}:${port}/${mark}`)}`,
  })),
  network('a redirect of a public server to loopback, of a POST', 'fetches', ({ port, mark }) => ({
    url: `http://public.example:${port}/to/${encodeURIComponent(`http://127.0.0.1:${port}/${mark}`)}`,
    init: { method: 'POST', body: 'x' },
  })),
  network('a redirect followed by hand', 'follows redirects by hand', ({ port, mark }) => ({
    url: `http://public.example:${port}/to/${encodeURIComponent(`http://lan.example:${port}/${mark}`)}`,
  })),
];

const toLan = () => ({ host: others.lan });
const ways: readonly Attack[] = [
  network('http', 'asks by http', ({ port, mark }) => ({ url: `http://${others.lan}:${port}/${mark}` })),
  network('https', 'asks by https', ({ port, mark }) => ({ url: `https://${others.lan}:${port}/${mark}` })),
  network('HTTP/2', 'asks by http2', ({ port }) => ({ url: `http://${others.lan}:${port}` })),
  network('TLS', 'asks by tls', toLan),
  network('a lookup of its own', 'answers names itself', toLan),
  network('an agent of its own', 'uses a socket of its own for fetch', toLan),
  network('bound to the machine’s own address', 'binds to the address of the machine first', () => ({ host: others.lan, from: own.lan }), {
    expected: OPEN,
  }),
  network('a proxy in the environment', 'names proxies in the environment', toLan),
  network('tcp_wrap below net', 'process.binding tcp_wrap', toLan, { expected: {} }),
  network('the handle below a socket', 'handle of a socket', toLan),
  network('udp_wrap below dgram', 'process.binding udp_wrap', toLan, { expected: {} }),
  network('pipe_wrap below net, to a socket of the machine', 'process.binding pipe_wrap', ({ paths }) => ({ socket: paths.socket }), {
    expected: {},
  }),
  network('connect as it was before it was hooked', 'original connect, from before the hooks', toLan),
  network('a worker thread without hooks', 'worker thread without the hooks', toLan, { expected: {} }),
  network('a child process without hooks', 'child process without the hooks', toLan, { expected: {} }),
  network(
    'curl, or a shell',
    'a program for downloads',
    ({ port, mark }) => ({ host: others.lan, url: `http://${others.lan}:${port}/${mark}` }),
    {
      expected: {},
    },
  ),
  network('a socket in the file system', 'connects to a path', ({ paths }) => ({ socket: paths.socket })),
  network('an abstract socket', 'connects to an abstract socket', ({ paths }) => ({ abstract: paths.abstract })),
  network('the socket of the container engine', 'asks the container engine', ({ paths }) => ({ engine: paths.engine }), {
    evidence: 'done',
    control: 'root',
    expected: {},
  }),
  network('a socket that the Worker has open', 'takes over a descriptor', ({ sockets }) => ({ sockets }), {
    ...{ control: false, expected: {}, evidence: 'done' },
  }),
];

const datagrams: readonly Attack[] = [
  network('UDP to the LAN', 'sends datagrams', toLan),
  network('UDP to loopback', 'sends datagrams', () => ({ host: '127.0.0.1' })),
  network('UDP to metadata', 'sends datagrams', () => ({ host: others.metadata })),
  network('UDP to a unique local address', 'sends datagrams', () => ({ host: others.ula })),
  network('UDP, connected', 'connects a datagram socket', toLan),
  network('multicast', 'sends multicast', () => ({ host: groups.v4 })),
  network('multicast DNS', 'sends multicast', () => ({ host: groups.mdns })),
  network('IPv6 multicast', 'sends datagrams', ({ zone }) => ({ host: `${groups.v6}%${zone}` })),
  network('broadcast', 'sends datagrams', () => ({ host: broadcast, broadcast: true })),
  network(
    'a name server of the LAN that is not the machine’s',
    'tells a name server of its choice a secret',
    () => ({ host: others.lan }),
    {
      evidence: 'name',
    },
  ),
  network('the machine’s name server, asked directly', 'tells a name server of its choice a secret', () => ({ host: router }), {
    evidence: 'name',
    expected: { process: 'open', container: 'open' },
  }),
];

const listening: readonly Attack[] = [
  network('listening on all addresses', 'listens on every address', undefined, { evidence: 'dialled' }),
  network('listening on loopback', 'listens on every address', () => ({ host: '127.0.0.1' }), { evidence: 'dialled' }),
  network('listening for datagrams', 'listens for datagrams', undefined, { evidence: 'dialled' }),
  network('listening in a cluster', 'listens in a cluster', undefined, { evidence: 'dialled', expected: {} }),
  network('listening for debuggers', 'opens an inspector', undefined, { evidence: 'dialled', expected: {} }),
];

const policies: readonly Attack[] = [
  ...(
    [
      ['none: a public address', 'connects to', () => ({ host: publics.v4 })],
      ['none: a public name', 'connects to', () => ({ host: 'public.example' })],
      ['none: a public IPv6 address', 'connects to', () => ({ host: publics.v6 })],
      ['none: UDP to a public address', 'sends datagrams', () => ({ host: publics.v4 })],
      ['none: the LAN', 'connects to', toLan],
    ] as const
  ).map(([name, body, w]) => attack('network policy', name, body, w, { policy: 'none', evidence: 'reach any' })),
  ...(
    [
      ['none: a secret in a name that is looked up', 'tells the name server a secret', undefined],
      ['none: a secret in a name that is asked for', 'tells the name server a secret by query', undefined],
      ['none: a secret in a name that is connected to', 'tells a secret in the name it connects to', undefined],
      ['none: a secret told to a public name server', 'tells a name server of its choice a secret', () => ({ host: publics.other })],
    ] as const
  ).map(([name, body, w]) => attack('network policy', name, body, w, { policy: 'none', evidence: 'name' })),
  ...(
    [
      ['hosts: an address that is not listed', () => ({ host: publics.other })],
      ['hosts: a name that is not listed', () => ({ host: 'public.example' })],
      ['hosts: a name below a listed one', () => ({ host: 'sub.listed.example' })],
      ['hosts: a listed name that leads into the LAN', () => ({ host: 'listed-lan.example' })],
      ['hosts: the LAN', toLan],
    ] as const
  ).map(([name, w]) => attack('network policy', name, 'connects to', w, { policy: 'hosts', evidence: 'reach any' })),
  ...(
    [
      ['internet: what the owner opens to others', { host: 'opened.example' }, 'internet'],
      ['lan: what the owner has not named', { host: 'lan.example' }, 'lan'],
      ['lan: another address of the LAN', { host: others.lan }, 'lan'],
      ['lan: what the owner has named, by its address', { host: others.opened }, 'lan'],
      ['lan: metadata', { host: others.metadata }, 'lan'],
      ['lan: loopback', { host: '127.0.0.1' }, 'lan'],
    ] as const
  ).map(([name, w, policy]) =>
    attack('network policy', name, 'connects to', () => w, { policy, ...(name.includes('by its address') && resolvedHosts) }),
  ),
  attack('network policy', 'hosts: UDP to an address that is not listed', 'sends datagrams', () => ({ host: publics.other }), {
    policy: 'hosts',
    evidence: 'reach any',
  }),
];

const raw = (name: string, bytes: (aim: Aim) => string, control?: false) =>
  attack('the way out', name, 'raw CONNECT', (aim) => ({ bytes: bytes(aim) }), {
    expected: PROXY_ONLY,
    ...(control === false && { control }),
  });
const proxy = (name: string, body: string) =>
  attack('the way out', name, body, () => ({ host: others.lan, public: publics.v4 }), { expected: PROXY_ONLY });
const head = (authority: string, host = authority) => `CONNECT ${authority} HTTP/1.1\r\nhost: ${host}\r\n\r\n`;

const wayOut: readonly Attack[] = [
  proxy('GET in absolute form', 'absolute form'),
  proxy('GET with another host', 'origin form with a host header'),
  proxy('an upgrade in absolute form', 'UPGRADE instead of CONNECT'),
  proxy('CONNECT with a URL', 'the proxy by its path in a URL'),
  { ...proxy('SOCKS', 'SOCKS to the proxy'), control: false },
  { ...proxy('two CONNECTs at once', 'two CONNECTs in one message'), control: false },
  { ...proxy('a CONNECT inside a CONNECT', 'CONNECT inside a CONNECT'), control: false },
  { ...proxy('a CONNECT behind a body', 'a body that holds a CONNECT'), control: false },
  proxy('a relay inside the sandbox', 'relay in the sandbox'),
  raw('CONNECT with a user', ({ port }) => head(`${publics.v4}:${port}@${others.lan}:${port}`)),
  raw('CONNECT with another host header', ({ port }) => head(`${others.lan}:${port}`, `${publics.v4}:${port}`)),
  raw('CONNECT in hexadecimal', ({ port }) => head(`0xc0a84d05:${port}`)),
  raw('CONNECT in octal', ({ port }) => head(`0300.0250.0115.0005:${port}`)),
  raw('CONNECT percent-encoded', ({ port }) => head(`192.168.77.%35:${port}`)),
  raw('CONNECT in full-width digits', ({ port }) => head(`１９２.168.77.5:${port}`)),
  raw('CONNECT with a mapped address', ({ port }) => head(`[::ffff:192.168.77.5]:${port}`)),
  raw('CONNECT with a zone', ({ port }) => head(`[${others.linkLocal6}%25wan]:${port}`), false),
  raw('CONNECT with a port beyond 65535', ({ port }) => head(`${others.lan}:${port + 65_536}`)),
  raw(
    'CONNECT with a line break in the name',
    ({ port }) => `CONNECT ${publics.v4}:${port}\n${others.lan}:${port} HTTP/1.1\r\n\r\n`,
    false,
  ),
  raw('CONNECT with a NUL in the name', ({ port }) => head(`${others.lan}\0.public.example:${port}`), false),
  raw(
    'CONNECT with headers without end',
    ({ port }) => `CONNECT ${others.lan}:${port} HTTP/1.1\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`,
    false,
  ),
  raw('CONNECT to the tunnel of a job that has none', ({ port }) => head(`tunnel.peerwork:${port}`), false),
  raw('CONNECT to this machine as containers know it', ({ port }) => head(`host.containers.internal:${port}`)),
];

export const networkAttacks: readonly Attack[] = [
  ...addresses,
  ...spellings,
  ...byName,
  ...ways,
  ...datagrams,
  ...listening,
  ...policies,
  ...wayOut,
];

/** The same without the preload, which no wall needs: by the proxy's socket alone. */
export const mustReach = (): readonly Attack[] => mustWork.filter(({ body }) => body === 'connects to');

/** On a machine that runs the rest of the suite besides; what works does not wait. */
const MUST_WORK_MS = 60_000;

/** What must go on working with the policy `internet`, or none of the above means anything; and with `hosts`, what is listed. */
export const mustWork: readonly Attack[] = [
  network('a public address', 'connects to', () => ({ host: publics.v4 })),
  network('a public name', 'connects to', () => ({ host: 'public.example' })),
  network('fetch', 'fetches', ({ port, mark }) => ({ url: `http://public.example:${port}/${mark}` })),
  network('http', 'asks by http', ({ port, mark }) => ({ url: `http://public.example:${port}/${mark}` })),
  network('TLS', 'asks by tls', () => ({ host: 'public.example' })),
  network('HTTP/2', 'asks by http2', ({ port }) => ({ url: `http://public.example:${port}` })),
  network('hosts: a listed name', 'connects to', () => ({ host: 'listed.example' }), { policy: 'hosts' }),
  network('lan: what the owner has named', 'connects to', () => ({ host: 'opened.example' }), { policy: 'lan' }),
].map((each): Attack => ({ ...each, evidence: 'reach any', expected: {}, w: (aim) => ({ patienceMs: MUST_WORK_MS, ...each.w?.(aim) }) }));
