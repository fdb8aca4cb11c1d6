/** Who is who in the network that the suite makes: the Worker's machine on one side of a cable, all the world on the other. */

export const own = { lan: '192.168.77.20', ula: 'fd77::20', public4: '88.198.77.20', public6: '2a01:4f8:77::20' } as const;
/** The router, which is the name server too. */
export const router = '192.168.77.1';
export const publics = { v4: '93.184.215.14', other: '9.9.9.9', v6: '2600:1901:0:77::5' } as const;

/** Addresses on the other side that no job with the policy `internet` may reach. */
export const others = {
  lan: '192.168.77.5',
  opened: '192.168.77.6',
  ten: '10.1.2.3',
  twelve: '172.16.5.5',
  carrier: '100.64.1.1',
  linkLocal: '169.254.7.7',
  metadata: '169.254.169.254',
  oracle: '192.0.0.192',
  azure: '168.63.129.16',
  alibaba: '100.100.100.200',
  benchmark: '198.18.77.7',
  documentation: '203.0.113.7',
  classE: '240.0.0.7',
  neighbour4: '88.198.77.21',
  linkLocal6: 'fe80::5',
  ula: 'fd00:77::5',
  amazon6: 'fd00:ec2::254',
  neighbour6: '2a01:4f8:77::5',
  nat64: '64:ff9b::a01:203',
  localNat64: '64:ff9b:1::a01:203',
  sixToFour: '2002:a01:203::1',
  teredo: '2001:0:a01:203::1',
  compatible: '::10.1.2.3',
  siteLocal: 'fec0::5',
  documentation6: '2001:db8::5',
} as const;

export const groups = { v4: '239.7.7.7', mdns: '224.0.0.251', v6: 'ff02::77' } as const;
export const broadcast = '192.168.77.255';

const nobody = '93.184.215.99';
/** Names and where they lead: lists take turns. */
export const names: Readonly<Record<string, readonly (readonly string[])[]>> = {
  'public.example': [[publics.v4]],
  'listed.example': [[publics.v4]],
  'listed-lan.example': [[others.lan]],
  'lan.example': [[others.lan]],
  // The owner has named it.
  'opened.example': [[others.opened]],
  'loop.example': [['127.0.0.1', '::1']],
  'mapped.example': [['::ffff:10.1.2.3']],
  'mixed.example': [[nobody, others.lan]],
  'ula.example': [[others.ula]],
  'metadata.google.internal': [[others.metadata]],
  'host.docker.internal': [[own.lan]],
  'host.containers.internal': [[own.lan]],
  'rebind.example': [[publics.v4], [others.lan]],
  'leak.example': [[publics.v4]],
};

const publicAddresses = new Set<string>([...Object.values(publics), ...Object.values(publics).map((address) => `::ffff:${address}`)]);

/** Whether a server saw something at an address of the public internet, written as Node tells it. */
export function isPublic(address: string): boolean {
  return publicAddresses.has(address);
}

/** `network` in the task.json of each policy. */
export const wishes = {
  internet: 'internet',
  none: 'none',
  hosts: ['listed.example', 'listed-lan.example'],
  lan: 'lan',
} as const;

/** What the owner of every Worker here allows. */
export const ownersWords = ['internet', 'opened.example'] as const;
