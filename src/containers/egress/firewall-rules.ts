import { closedHosts, closedIpv4 } from '../../egress/addresses.js';

/** One IPv4 address, and one port of it; without a port, all of TCP. */
export interface Opening {
  readonly address: string;
  readonly port?: number;
}

export interface FirewallPlan {
  readonly table: string;
  /** The interface of the job's own bridge. */
  readonly bridge: string;
  /** Whether the public internet is open, or only the openings. */
  readonly internet: boolean;
  readonly openings: readonly Opening[];
  /** IPv4 networks of this machine, as CIDR, closed whatever their addresses are. */
  readonly own: readonly string[];
  /** Name servers that containers query, by UDP and TCP on port 53; empty if only the openings are allowed. */
  readonly nameServers: readonly string[];
}

/**
 * Returns the ruleset for nft: everything that comes out of the job's bridge is dropped unless allowed, towards the world (forward) as
 * well as towards this machine (input). A drop is final whatever other tables contain, and these hooks precede docker's own. IPv6 is
 * dropped entirely.
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
    // Traffic between the containers of the job, where bridged packets pass here at all.
    ...chain('forward', [`oifname "${bridge}" accept`, ...allowed, ...world]),
    ...chain('input', allowed),
    '}',
    '',
  ].join('\n');
}
