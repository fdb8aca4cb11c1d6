import { isIPv6 } from 'node:net';
import * as v from 'valibot';
import { PeerworkError } from '../errors.js';

const MAX_HOSTS = 100;

const hosts = v.pipe(v.array(v.pipe(v.string(), v.check(isHost))), v.maxLength(MAX_HOSTS));

const named = v.pipe(
  v.strictObject({ hosts }),
  v.transform((setting) => setting.hosts),
);

/** `network` in a task.json, for every runner; and in the data of container jobs. A list of hosts may also be written as `{ "hosts": […] }`. */
export const networkSetting: v.GenericSchema<unknown, NetworkWish> = v.union(
  [v.picklist(['none', 'internet', 'lan']), hosts, named],
  `must be "none", "internet", "lan" or a list of at most ${MAX_HOSTS} hosts such as "api.example.org:443"`,
);

/**
 * What a task asks for: nothing, public addresses (`internet`), these and what the owner opens of the own network (`lan`), or these hosts alone:
 * `host:port`, or a host with a dot in its name, or an address, for all of its ports.
 */
export type NetworkWish = 'none' | 'internet' | 'lan' | readonly string[];

/** What the owner of a worker says: `none`, `internet`, or hosts, which may be in the owner's own network; several add up. Default `internet`. */
export type OwnerNetwork = 'none' | 'internet' | readonly string[];

/** What the owner of a worker allows at most. */
export interface NetworkCeiling {
  readonly internet: boolean;
  /** Hosts that may be reached even in the owner's own network. */
  readonly hosts: readonly string[];
}

/** The rule in force for one job. */
export interface NetworkPolicy {
  /** `listed`: nothing but the hosts below. */
  readonly mode: 'none' | 'internet' | 'listed';
  /** `host:port`, or `host:*` for all ports, whose address must be public. */
  readonly listed: ReadonlySet<string>;
  /** The same, but anywhere: the owner has named them, or whoever the owner trusts as much. */
  readonly trusted: ReadonlySet<string>;
  /** Why what is not open is closed, for who is refused. */
  readonly why?: string;
}

const BY_OWNER = 'the owner of this worker does not allow it (--task-network)';
const BY_TASK = 'the task does not ask for it (network in its task.json)';

/** What the owner's words allow. Throws `container-invalid` for one that cannot be read. */
export function ceilingOf(network: OwnerNetwork): NetworkCeiling {
  const words = (typeof network === 'string' ? [network] : network).map((word) => word.toLowerCase());
  const hosts = words.filter((word) => word !== 'none' && word !== 'internet').map(readHost);
  return { internet: words.includes('internet'), hosts };
}

/** How much of what the owner says the sandbox must hold: the public internet is what a machine without one gives anyway. */
export function heldNetwork(network: OwnerNetwork): 'allow' | 'hosts' | 'deny' {
  const { internet, hosts } = ceilingOf(network);
  return internet ? 'allow' : hosts.length > 0 ? 'hosts' : 'deny';
}

/**
 * The lower of what a task asks and what the owner allows. `trusted`: hosts that come with the job from where the owner has connected this
 * worker to, such as its Redis.
 */
export function effectivePolicy(wish: NetworkWish, ceiling: NetworkCeiling, trusted: readonly string[] = []): NetworkPolicy {
  const byOwner = ceiling.hosts.map(readHost);
  const extra = trusted.map(readHost);
  const policy = (mode: NetworkPolicy['mode'], listed: readonly string[], free: readonly string[], why: string): NetworkPolicy => {
    const all = new Set([...free, ...extra]);
    const empty = mode === 'listed' && all.size + listed.length === 0;
    return { mode: empty ? 'none' : mode, listed: new Set(listed), trusted: all, why };
  };
  if (wish === 'none') return policy('listed', [], [], BY_TASK);
  if (wish === 'internet') return ceiling.internet ? policy('internet', [], [], BY_OWNER) : policy('listed', byOwner, [], BY_OWNER);
  if (wish === 'lan') return policy(ceiling.internet ? 'internet' : 'listed', [], byOwner, BY_OWNER);
  const asked = wish.map(readHost);
  const free = common(asked, byOwner);
  const others = ceiling.internet ? asked.filter((host) => !free.includes(host)) : [];
  return policy('listed', others, free, ceiling.internet ? BY_TASK : BY_OWNER);
}

/** Hosts that are in both lists, at the ports of both. */
function common(some: readonly string[], others: readonly string[]): string[] {
  const found = some.filter((host) => holds(new Set(others), host));
  return [...found, ...others.filter((host) => holds(new Set(some), host))];
}

/** Whether a list has this `host:port`, or all ports of the host. */
export function holds(hosts: ReadonlySet<string>, pair: string): boolean {
  return hosts.has(pair) || hosts.has(`${pair.slice(0, pair.lastIndexOf(':'))}:*`);
}

/** `host:port`, `host:*` or a host alone, in the one form in which it is compared; throws `container-invalid`. */
export function readHost(text: string): string {
  const [, host = text] = /^(.+):\*$/.exec(text) ?? [];
  const target = readTarget(text);
  if (target !== undefined) return pairOf(target.host, target.port);
  // A name without a dot could be a word that is written wrong.
  const whole = /[.:]/.test(host) ? readTarget(`${isIPv6(host) ? `[${host}]` : host}:1`) : undefined;
  if (whole === undefined)
    throw new PeerworkError('container-invalid', `${JSON.stringify(text.slice(0, 80))} is no host and not host:port`);
  return pairOf(whole.host, '*');
}

/** A `host:port` in the one form in which it is compared; throws `container-invalid`. */
export function readPair(text: string): string {
  const target = readTarget(text);
  if (target === undefined) throw new PeerworkError('container-invalid', `${JSON.stringify(text.slice(0, 80))} is not host:port`);
  return pairOf(target.host, target.port);
}

export function pairOf(host: string, port: number | '*'): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

export interface Target {
  /** A name in lower case, or an address as the system writes it; without brackets. */
  readonly host: string;
  readonly port: number;
}

const AUTHORITY = /^(\[[0-9a-f:.]+\]|[^\s:/?#@[\]\\%]+):(\d{1,5})$/i;

/**
 * Reads `host:port`. All ways to write an address (`0x7f.1`, `2130706433`, `127.1`, `[::ffff:7f00:1]`, full-width digits) become the one that is
 * compared and connected to, by the rules of URLs.
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
