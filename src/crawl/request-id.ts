import { createHash } from 'node:crypto';

export const ID_CHARS = 15;

/** Computed as by Crawlee's clients: base64 of the SHA-256 of the unique key without `+`, `/` and `=`, truncated to 15 characters. */
export function requestId(uniqueKey: string): string {
  const hash = createHash('sha256').update(uniqueKey).digest('base64').replace(/[+/=]/g, '');
  // Copied: a slice would keep the whole hash in memory, for each page of a crawl.
  return Buffer.from(hash.slice(0, ID_CHARS), 'latin1').toString('latin1');
}

/**
 * Returns Crawlee's notion of what makes two addresses the same page: without fragment, `utm_…` parameters and trailing slash, parameters
 * sorted. The address must be valid.
 */
export function uniqueKeyOf(address: string | URL): string {
  const url = typeof address === 'string' ? new URL(address) : address;
  const { protocol, host, pathname, search } = url;
  if (search === '') return `${protocol}//${host}${pathname.replace(/\/$/, '')}`;
  const searchParams = new URLSearchParams(search);
  for (const name of [...searchParams.keys()]) if (name.startsWith('utm_')) searchParams.delete(name);
  searchParams.sort();
  const query = searchParams.toString();
  return `${protocol}//${host}${pathname.replace(/\/$/, '')}${query === '' ? '' : `?${query}`}`;
}
