/** What a URL parser (`.` and `..`, however they are encoded) or a proxy (`/`, `\`, `%`) would make something else of in a path. */
const UNSAFE = /^\.{1,2}$|[/\\%]/;

/**
 * The address of what the API has under an id: `base/ID`, `base/ID/verb?name=value`. An id that does not survive in a path goes into the query:
 * `base/~/verb?id=..`.
 */
export function idPath(base: string, id: string, verb?: string, query: Readonly<Record<string, string>> = {}): string {
  const safe = !UNSAFE.test(id);
  const path = `${base}/${safe ? encodeURIComponent(id) : '~'}${verb === undefined ? '' : `/${verb}`}`;
  const values = Object.entries(safe ? query : { id, ...query }).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return values.length === 0 ? path : `${path}?${values.join('&')}`;
}
