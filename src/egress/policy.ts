import { isIPv6 } from 'node:net';
import * as v from 'valibot';
import { PeerworkError } from '../errors.js';

const MAX_HOSTS = 100;

const hosts = v.pipe(v.array(v.pipe(v.string(), v.check(isHost))), v.maxLength(MAX_HOSTS));

const named = v.pipe(
  v.strictObject({ hosts }),
  v.transform((setting) => setting.hosts),
);

/**
 * `network` in a task.json, for every runner, and in the data of container jobs. A list of hosts may also be written as `{ "hosts": […]
 * }`.
 */
export const networkSetting: v.GenericSchema<unknown, NetworkWish> = v.union(
  [v.picklist(['none', 'internet', 'lan']), hosts, named],
  `must be "none", "internet", "lan" or a list of at most ${MAX_HOSTS} hosts such as "api.example.org:443"`,
);

/**
 * What a task requests: nothing, public addresses (`internet`), these plus whatever the owner opens of the local network (`lan`), or only
 * the listed hosts: `host:port`, or a host with a dot in its name, or an address, for all of its ports.
 */
export type NetworkWish = 'none' | 'internet' | 'lan' | readonly string[];

/**
 * What the owner of a worker allows: `none`, `internet`, or hosts, which may be in the owner's own network; several entries add up.
 * Default `internet`.
 */
export type OwnerNetwork = 'none' | 'internet' | readonly string[];

/** The most that the owner of a worker allows. */
export interface NetworkCeiling {
  readonly internet: boolean;
  /** Hosts that may be reached even in the owner's own network. */
  readonly hosts: readonly string[];
}

/** The rule in force for one job. */
export interface NetworkPolicy {
  /** `listed`: only the hosts below. */
  readonly mode: 'none' | 'internet' | 'listed';
  /** `host:port`, or `host:*` for all ports. The address must be public. */
  readonly listed: ReadonlySet<string>;
  /** The same, but with any address: named by the owner, or by a party that the owner trusts as much. */
  readonly trusted: ReadonlySet<string>;
  /** Reason given for a refusal. */
  readonly why?: string;
}

const BY_OWNER = 'the owner of this worker does not allow it (--task-network)';
const BY_TASK = 'the task does not ask for it (network in its task.json)';

/** Returns what the owner's setting allows. Throws `container-invalid` for an invalid entry. */
export function ceilingOf(network: OwnerNetwork): NetworkCeiling {
  const words = (typeof network === 'string' ? [network] : network).map((word) => word.toLowerCase());
  const hosts = words.filter((word) => word !== 'none' && word !== 'internet').map(readHost);
  return { internet: words.includes('internet'), hosts };
}

/** Returns how much of the owner's setting the sandbox must enforce: a machine without one gives access to the public internet anyway. */
export function heldNetwork(network: OwnerNetwork): 'allow' | 'hosts' | 'deny' {
  const { internet, hosts } = ceilingOf(network);
  return internet ? 'allow' : hosts.length > 0 ? 'hosts' : 'deny';
}

/**
 * Combines what a task requests with what the owner allows; the stricter of both applies. `trusted`: hosts that come with the job from a
 * source to which the owner has connected this worker, such as its Redis.
 */
export function effectivePolicy(wish: NetworkWish, ceiling: NetworkCeiling, trusted: readonly string[] = []): NetworkPolicy {
  const byOwner = ceiling.hosts.map(readHost);
  const extra = trusted.map(readHost);
  const policy = (mode: NetworkPolicy['mode'], listed: readonly string[], unrestricted: readonly string[], why: string): NetworkPolicy => {
    const all = new Set([...unrestricted, ...extra]);
    const empty = mode === 'listed' && all.size + listed.length === 0;
    return { mode: empty ? 'none' : mode, listed: new Set(listed), trusted: all, why };
  };
  if (wish === 'none') return policy('listed', [], [], BY_TASK);
  if (wish === 'internet') return ceiling.internet ? policy('internet', [], [], BY_OWNER) : policy('listed', byOwner, [], BY_OWNER);
  if (wish === 'lan') return policy(ceiling.internet ? 'internet' : 'listed', [], byOwner, BY_OWNER);
  const requested = wish.map(readHost);
  const unrestricted = intersection(requested, byOwner);
  const others = ceiling.internet ? requested.filter((host) => !unrestricted.includes(host)) : [];
  return policy('listed', others, unrestricted, ceiling.internet ? BY_TASK : BY_OWNER);
}

/** Returns hosts that are in both lists, at ports that both allow. */
function intersection(some: readonly string[], others: readonly string[]): string[] {
  const found = some.filter((host) => includesPair(new Set(others), host));
  return [...found, ...others.filter((host) => includesPair(new Set(some), host))];
}

/** Whether a list contains this `host:port`, or all ports of the host. */
export function includesPair(hosts: ReadonlySet<string>, pair: string): boolean {
  return hosts.has(pair) || hosts.has(`${pair.slice(0, pair.lastIndexOf(':'))}:*`);
}

/** Normalises `host:port`, `host:*` or a bare host to the form used in comparisons; throws `container-invalid`. */
export function readHost(text: string): string {
  const [, host = text] = /^(.+):\*$/.exec(text) ?? [];
  const target = readTarget(text);
  if (target !== undefined) return pairOf(target.host, target.port);
  // A name without a dot could be a misspelt keyword.
  const bare = /[.:]/.test(host) ? readTarget(`${isIPv6(host) ? `[${host}]` : host}:1`) : undefined;
  if (bare === undefined) throw new PeerworkError('container-invalid', `${JSON.stringify(text.slice(0, 80))} is no host and not host:port`);
  return pairOf(bare.host, '*');
}

/** Normalises a `host:port` to the form used in comparisons; throws `container-invalid`. */
export function readPair(text: string): string {
  const target = readTarget(text);
  if (target === undefined) throw new PeerworkError('container-invalid', `${JSON.stringify(text.slice(0, 80))} is not host:port`);
  return pairOf(target.host, target.port);
}

export function pairOf(host: string, port: number | '*'): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

export interface Target {
  /** Name in lower case, or address in the system's notation; without brackets. */
  readonly host: string;
  readonly port: number;
}

const AUTHORITY = /^(\[[0-9a-f:.]+\]|[^\s:/?#@[\]\\%]+):(\d{1,5})$/i;

/**
 * Parses `host:port`. All notations of an address (`0x7f.1`, `2130706433`, `127.1`, `[::ffff:7f00:1]`, full-width digits) are normalised
 * by the rules of URLs to the one that is compared and connected to.
 */
export function readTarget(authority: string): Target | undefined {
  const [, written = '', portText = ''] = AUTHORITY.exec(authority) ?? [];
  const port = Number(portText);
  const url = `http://${written}/`;
  if (written === '' || port < 1 || port > 65_535 || !URL.canParse(url)) return undefined;
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
  return host === '' ? undefined : { host, port };
}

function isHost(text: string): boolean {
  try {
    readHost(text);
    return true;
  } catch {
    return false;
  }
}
