/** Ids that a URL parser (`.` and `..`, in any encoding) or a proxy (`/`, `\`, `%`) would rewrite in a path. */
const UNSAFE = /^\.{1,2}$|[/\\%]/;

/**
 * Builds the API path of a resource by id: `base/ID`, `base/ID/verb?name=value`. An id that would not survive in a path moves to
 * the query: `base/~/verb?id=..`.
 */
export function idPath(base: string, id: string, verb?: string, query: Readonly<Record<string, string>> = {}): string {
  const safe = !UNSAFE.test(id);
  const path = `${base}/${safe ? encodeURIComponent(id) : '~'}${verb === undefined ? '' : `/${verb}`}`;
  const values = Object.entries(safe ? query : { id, ...query }).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return values.length === 0 ? path : `${path}?${values.join('&')}`;
}
