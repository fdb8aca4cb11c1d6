import { PeerworkError } from '../errors.js';

/** What a job asks for: no network, the public internet, or these `host:port` only. */
export type NetworkWish = 'none' | 'internet' | readonly string[];

/** What the owner of a worker allows at most. */
export interface NetworkCeiling {
  readonly internet: boolean;
  /** `host:port` that may be reached even in the owner's own network. */
  readonly hosts: readonly string[];
}

export const NO_NETWORK: NetworkCeiling = { internet: false, hosts: [] };

/** The rule in force for one job. */
export interface NetworkPolicy {
  /** `listed`: nothing but the hosts below. */
  readonly mode: 'none' | 'internet' | 'listed';
  /** `host:port` whose address must be public. */
  readonly listed: ReadonlySet<string>;
  /** `host:port` that may be anywhere: the owner has named them, or whoever the owner trusts as much. */
  readonly trusted: ReadonlySet<string>;
}

/**
 * The lower of what a job asks and what the owner allows. `trusted`: pairs that come with the job from where the owner has connected this
 * worker to, such as its Redis.
 */
export function lowerOf(wish: NetworkWish, ceiling: NetworkCeiling, trusted: readonly string[] = []): NetworkPolicy {
  const byOwner = new Set(ceiling.hosts.map(readPair));
  const extra = trusted.map(readPair);
  const policy = (mode: NetworkPolicy['mode'], listed: Iterable<string>, free: Iterable<string>): NetworkPolicy => {
    const all = new Set([...free, ...extra]);
    return { mode: mode !== 'internet' && all.size + [...listed].length === 0 ? 'none' : mode, listed: new Set(listed), trusted: all };
  };
  if (wish === 'none') return policy(extra.length > 0 ? 'listed' : 'none', [], []);
  if (wish === 'internet') return policy(ceiling.internet ? 'internet' : 'listed', [], byOwner);
  const pairs = wish.map(readPair);
  const known = pairs.filter((pair) => byOwner.has(pair));
  return policy('listed', ceiling.internet ? pairs.filter((pair) => !byOwner.has(pair)) : [], known);
}

/** A `host:port` in the one form in which it is compared; throws `container-invalid`. */
export function readPair(text: string): string {
  const target = readTarget(text);
  if (target === undefined) throw new PeerworkError('container-invalid', `${JSON.stringify(text.slice(0, 80))} is not host:port`);
  return `${target.host}:${target.port}`;
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
