import { closedHosts, closedIpv4 } from '../../egress/addresses.js';

/** One address, IPv4, and one port of it; absent: all of TCP. */
export interface Opening {
  readonly address: string;
  readonly port?: number;
}

export interface FirewallPlan {
  readonly table: string;
  /** The interface of the job's own bridge. */
  readonly bridge: string;
  /** The public internet is open; else only the openings are. */
  readonly internet: boolean;
  readonly openings: readonly Opening[];
  /** IPv4 networks of this machine, as CIDR, closed whatever their addresses are. */
  readonly own: readonly string[];
  /** Name servers that containers ask, by UDP and TCP on port 53; none where nothing but the openings is allowed. */
  readonly nameServers: readonly string[];
}

/**
 * What nft is to load: everything that comes out of the job's bridge is dropped unless it is allowed, towards the world (forward) as towards this
 * machine (input). Drops are final whatever other tables say, and these hooks come before docker's own. IPv6 is dropped as a whole.
 */
export function firewallRules(plan: FirewallPlan): string {
  const { table, bridge } = plan;
  const closed = [...new Set([...closedIpv4, ...closedHosts, ...plan.own.filter((cidr) => !cidr.includes(':'))])];
  const allowed = [
    ...plan.openings.map(
      ({ address, port }) => `ip daddr ${address} ${port === undefined ? 'meta l4proto tcp' : `tcp dport ${port}`} accept`,
    ),
    ...plan.nameServers.map((address) => `ip daddr ${address} meta l4proto { tcp, udp } th dport 53 accept`),
  ];
  const world = plan.internet ? ['ip daddr @closed drop', 'meta nfproto ipv4 accept'] : [];
  const chain = (hook: 'forward' | 'input', rules: readonly string[]) => [
    `  chain ${hook} {`,
    `    type filter hook ${hook} priority -300; policy accept;`,
    `    iifname != "${bridge}" accept`,
    '    ct state established,related accept',
    ...rules.map((rule) => `    ${rule}`),
    '    drop',
    '  }',
  ];
  return [
    `table inet ${table} {`,
    '  set closed {',
    '    type ipv4_addr; flags interval; auto-merge',
    `    elements = { ${closed.join(', ')} }`,
    '  }',
    // Between the containers of the job, where bridged packets come by here at all.
    ...chain('forward', [`oifname "${bridge}" accept`, ...allowed, ...world]),
    ...chain('input', allowed),
    '}',
    '',
  ].join('\n');
}
