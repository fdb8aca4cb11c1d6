/** Addresses of a Redis, as every option that names one takes them. */

export interface RedisUrl {
  readonly host: string;
  readonly port: number;
  /** Whether TLS is spoken on top. */
  readonly secure: boolean;
  readonly username: string;
  readonly password: string;
  readonly db: number;
}

/** One Redis, or the sentinels that know which one is the primary. */
export type RedisPlace =
  | (RedisUrl & { readonly kind: 'server' })
  | (Omit<RedisUrl, 'host' | 'port'> & {
      readonly kind: 'sentinels';
      readonly sentinels: readonly { readonly host: string; readonly port: number }[];
      /** What the sentinels call the primary. */
      readonly primary: string;
    });

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;
/** `redis+sentinel://user:password@host:port,host:port/primary/db`, as several clients write it. */
const SENTINELS = /^(rediss?)\+sentinel:\/\/(?:([^@/]*)@)?([^@/?#]+)\/([\w.-]+)(?:\/(\d{1,5}))?$/;

/** What a `redis://` or `rediss://` address says; throws if it is none. */
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

/** The same, or `redis+sentinel://` (`rediss+sentinel://`) with one or more sentinels and the name of the primary; throws if it is neither. */
export function readRedisPlace(text: string): RedisPlace {
  if (!/^rediss?\+sentinel:/.test(text)) return { kind: 'server', ...readRedisUrl(text) };
  const [, protocol, login = '', hosts = '', primary = '', db = '0'] = SENTINELS.exec(text) ?? [];
  if (protocol === undefined) throw new Error('sentinels are written redis+sentinel://host:port,host:port/name-of-the-primary');
  const each = hosts.split(',').map((host) => readRedisUrl(`${protocol}://${login === '' ? '' : `${login}@`}${host}/${db}`, SENTINEL_PORT));
  const sentinels = each.map(({ host, port }) => ({ host: bareHost(host), port }));
  const [{ secure, username, password } = { secure: false, username: '', password: '' }] = each;
  return { kind: 'sentinels', sentinels, primary, secure, username, password, db: Number(db) };
}

export function isRedisPlace(text: string): boolean {
  try {
    readRedisPlace(text);
    return true;
  } catch {
    return false;
  }
}

/** The place in the options of an ioredis client. */
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

/** A host as a socket takes it: IPv6 addresses stand in brackets in a URL, and nowhere else. */
export function bareHost(host: string): string {
  return host.replace(/^\[|\]$/g, '');
}

/** For TLS: a certificate is for a name, or for an address, which must not be sent as a name. */
export function serverName(host: string): { readonly servername?: string } {
  return /^[\d.:[\]]*$/.test(host) ? {} : { servername: host };
}
