/** Redis addresses, as accepted by every option that takes one. */

/** A parsed Redis address. */
export interface RedisUrl {
  readonly host: string;
  readonly port: number;
  /** Whether to use TLS. */
  readonly secure: boolean;
  readonly username: string;
  readonly password: string;
  readonly db: number;
}

/** A single Redis, or the sentinels that know the primary. */
export type RedisPlace =
  | (RedisUrl & { readonly kind: 'server' })
  | (Omit<RedisUrl, 'host' | 'port'> & {
      readonly kind: 'sentinels';
      readonly sentinels: readonly { readonly host: string; readonly port: number }[];
      /** The name of the primary on the sentinels. */
      readonly primary: string;
    });

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;
/** `redis+sentinel://user:password@host:port,host:port/primary/db`, as several clients write it. */
const SENTINELS = /^(rediss?)\+sentinel:\/\/(?:([^@/]*)@)?([^@/?#]+)\/([\w.-]+)(?:\/(\d{1,5}))?$/;

/** Parses a `redis://` or `rediss://` address. Throws if it is not one. */
export function readRedisUrl(text: string, defaultPort = REDIS_PORT): RedisUrl {
  const url = new URL(text);
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:') throw new Error('it begins neither with redis:// nor with rediss://');
  if (url.hostname === '') throw new Error('it names no host');
  const db = url.pathname.replace(/^\//, '');
  if (!/^\d{0,5}$/.test(db)) throw new Error('what follows the host is not the number of a database');
  return {
    host: url.hostname,
    port: Number(url.port || defaultPort),
    secure: url.protocol === 'rediss:',
    username: decoded(url.username),
    password: decoded(url.password),
    db: Number(db),
  };
}

/**
 * Parses the same, or `redis+sentinel://` (`rediss+sentinel://`) with one or more sentinels and the name of the primary. Throws
 * otherwise.
 */
export function readRedisPlace(text: string): RedisPlace {
  if (!/^rediss?\+sentinel:/.test(text)) return { kind: 'server', ...readRedisUrl(text) };
  const [, protocol, login = '', hosts = '', primary = '', db = '0'] = SENTINELS.exec(text) ?? [];
  if (protocol === undefined) throw new Error('sentinels are written redis+sentinel://host:port,host:port/name-of-the-primary');
  const each = hosts.split(',').map((host) => readRedisUrl(`${protocol}://${login === '' ? '' : `${login}@`}${host}/${db}`, SENTINEL_PORT));
  const sentinels = each.map(({ host, port }) => ({ host: bareHost(host), port }));
  const [{ secure, username, password } = { secure: false, username: '', password: '' }] = each;
  return { kind: 'sentinels', sentinels, primary, secure, username, password, db: Number(db) };
}

/** Whether a text is a valid Redis address. */
export function isRedisPlace(text: string): boolean {
  try {
    readRedisPlace(text);
    return true;
  } catch {
    return false;
  }
}

/** Converts the place to options of an ioredis client. */
export function redisClientOptions(place: RedisPlace) {
  const { username, password, db, secure } = place;
  const login = { db, ...(username !== '' && { username }), ...(password !== '' && { password }) };
  if (place.kind === 'server')
    return { host: bareHost(place.host), port: place.port, ...login, ...(secure && { tls: serverName(place.host) }) };
  const sentinels = place.sentinels.map((each) => ({ ...each }));
  return {
    sentinels,
    name: place.primary,
    ...login,
    ...(secure && { tls: {}, enableTLSForSentinelMode: true, sentinelTLS: {} }),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error('a % in its user or password must be written %25');
  }
}

/** Returns the host as a socket expects it: IPv6 addresses have brackets in URLs only. */
export function bareHost(host: string): string {
  return host.replace(/^\[|\]$/g, '');
}

/** TLS option for SNI: a host name is sent, an IP address must not be. */
export function serverName(host: string): { readonly servername?: string } {
  return /^[\d.:[\]]*$/.test(host) ? {} : { servername: host };
}
