import { BlockList, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';

/**
 * IPv4 ranges that are not public internet: IANA's special-purpose registry (RFC 6890 and later additions), including 169.254.169.254 and
 * similar.
 */
export const closedIpv4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
] as const;

/** Ranges within the unicast space of IPv6 that lead elsewhere, such as tunnels with an embedded IPv4 address, or nowhere. */
const closedIpv6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'] as const;

/** Cloud metadata outside the ranges above: Alibaba's is in 100.64/10, Oracle's in 192.0.0/24, Azure's host node here. */
export const closedHosts = ['168.63.129.16'] as const;

export interface OwnNetwork {
  readonly address: string;
  /** Such as `192.168.1.20/24`. */
  readonly cidr: string;
}

/** Returns the networks that this machine is in, public ones included: all of their hosts count as the owner's. */
export function ownNetworks(): OwnNetwork[] {
  return Object.values(networkInterfaces()).flatMap((addresses = []) =>
    addresses.map(({ address, cidr, family }) => ({ address, cidr: cidr ?? `${address}/${family === 'IPv4' ? 32 : 128}` })),
  );
}

/** Distinguishes addresses of the public internet from all others. The owner's current networks count as private. */
export class PublicInternet {
  readonly #own: () => readonly OwnNetwork[];
  readonly #closed = new BlockList();
  readonly #unicast = new BlockList();

  /** `own`: default the networks of this machine, read again for each address, because a laptop changes networks. */
  constructor(own?: readonly OwnNetwork[]) {
    this.#own = own === undefined ? ownNetworks : () => own;
    // Everything else in IPv6 is loopback, link-local, unique local, multicast, IPv4-mapped, NAT64 or unassigned.
    this.#unicast.addSubnet('2000::', 3, 'ipv6');
    for (const range of [...closedIpv4, ...closedIpv6, ...closedHosts]) close(this.#closed, range);
  }

  /** `address` in the system's notation. */
  has(address: string): boolean {
    switch (isIP(address)) {
      case 4:
        return !this.#closed.check(address, 'ipv4') && !this.#isOwn(address, 'ipv4');
      case 6:
        return this.#unicast.check(address, 'ipv6') && !this.#closed.check(address, 'ipv6') && !this.#isOwn(address, 'ipv6');
      default:
        return false;
    }
  }

  #isOwn(address: string, family: 'ipv4' | 'ipv6'): boolean {
    const own = new BlockList();
    for (const network of this.#own()) {
      close(own, network.cidr);
      close(own, network.address);
    }
    return own.check(address, family);
  }
}

function close(list: BlockList, cidr: string): void {
  const [address = '', bits] = cidr.split('/');
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
  // A wrong netmask must not block the whole internet.
  const prefix = Math.max(Number(bits ?? (family === 'ipv6' ? 128 : 32)), family === 'ipv6' ? 16 : 4);
  if (isIP(address) !== 0) list.addSubnet(address, prefix, family);
}
