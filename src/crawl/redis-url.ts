import type { Address } from './network.js';

/** What a `redis://` address says; throws if it is none. */
export function readRedisUrl(text: string): Address & { readonly username: string; readonly password: string; readonly db: number } {
  const url = new URL(text);
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:') throw new Error('it begins neither with redis:// nor with rediss://');
  if (url.hostname === '') throw new Error('it names no host');
  const db = url.pathname.replace(/^\//, '');
  if (!/^\d{0,5}$/.test(db)) throw new Error('what follows the host is not the number of a database');
  return {
    host: url.hostname,
    port: Number(url.port || 6379),
    secure: url.protocol === 'rediss:',
    username: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    db: Number(db),
  };
}
