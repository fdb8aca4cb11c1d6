/**
 * NAT types of the lab, mapping and filtering as in RFC 4787:
 *
 * - none: no NAT and no firewall, the hosts are reachable from everywhere
 * - fullcone: endpoint-independent mapping and filtering
 * - addr: endpoint-independent mapping, address-dependent filtering
 * - port: endpoint-independent mapping, address-and-port-dependent filtering: the ordinary home router
 * - sym: a new random port for each destination
 * - udpblock: as `port`, but all UDP is dropped
 * - web: as `udpblock`, and TCP only to the ports 80 and 443
 * - cgn: a `port` home router behind a carrier's `sym` router
 */
export const natTypes = ['none', 'fullcone', 'addr', 'port', 'sym', 'udpblock', 'web', 'cgn'] as const;
export type NatType = (typeof natTypes)[number];
/** Router types that one router can have; `cgn` takes two routers. */
export type RouterType = Exclude<NatType, 'cgn'>;

/** Seconds for which a router keeps an idle mapping: one-way, and one that has seen replies. */
export const udpTimeoutS = 30;
export const udpStreamTimeoutS = 120;

/** Returns the nftables rules of a router with its home on the interface `lan` and the given address on the interface `wan`. */
export function routerRules(type: RouterType, wan: string, wanAddress: string): string {
  const out = `oifname "${wan}"`;
  const into = `iifname "${wan}"`;
  // The NAT preserves ports, so it is enough to record the owner of a port, and its peers.
  const learnsOwner = type === 'fullcone' || type === 'addr';
  const lines = (...rules: (string | false)[]) => rules.filter((rule) => rule !== false).join('\n    ');
  const blocked = type === 'udpblock' || type === 'web';
  return `flush ruleset
table ip lab {
  map owner { type inet_service : ipv4_addr; size 65535; flags dynamic,timeout; timeout ${udpStreamTimeoutS}s; }
  set spoke { type ipv4_addr . inet_service; size 65535; flags dynamic,timeout; timeout ${udpStreamTimeoutS}s; }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ${lines(
      type === 'fullcone' && `${into} ct state new meta l4proto udp dnat to udp dport map @owner`,
      type === 'addr' && `${into} ct state new meta l4proto udp ip saddr . udp dport @spoke dnat to udp dport map @owner`,
    )}
  }
  chain learn {
    type filter hook postrouting priority mangle; policy accept;
    ${lines(
      learnsOwner && `${out} meta l4proto udp update @owner { udp sport : ip saddr }`,
      type === 'addr' && `${out} meta l4proto udp update @spoke { ip daddr . udp sport }`,
    )}
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ${lines(type !== 'none' && `${out} snat to ${wanAddress}${type === 'sym' ? ' fully-random' : ''}`)}
  }
  # Unsolicited packets to the router itself are dropped: accepted, a peer's early packet would take the port in conntrack,
  # and the home's own packet would then leave from another one, which makes a cone symmetric.
  chain input {
    type filter hook input priority filter; policy accept;
    ${into} ct state established,related accept
    ${into} meta l4proto { tcp, udp } drop
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ${lines(
      type === 'none' && 'accept',
      blocked && 'meta l4proto udp drop',
      'ct state established,related accept',
      'iifname "lan" meta l4proto { icmp, udp } accept',
      `iifname "lan" ${type === 'web' ? 'tcp dport { 80, 443 }' : 'meta l4proto tcp'} accept`,
      'ct status dnat accept',
    )}
  }
}
`;
}
