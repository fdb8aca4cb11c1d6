/**
 * Lists of values in statements. Arrays are not common to the engines, and every length is a statement of its own, to prepare and to
 * keep: so lists come in 25 lengths.
 */
const MAX_LENGTH = 256;

/** `list` in pieces of at most 256. */
export function pieces<T>(list: readonly T[]): (readonly T[])[] {
  if (list.length === 0) return [];
  if (list.length <= MAX_LENGTH) return [list];
  const parts: (readonly T[])[] = [];
  for (let start = 0; start < list.length; start += MAX_LENGTH) parts.push(list.slice(start, start + MAX_LENGTH));
  return parts;
}

/**
 * A piece filled up to the next length with its last element: for `IN (…)`, for `UPDATE … FROM (VALUES …)` and for
 * `INSERT … ON CONFLICT DO NOTHING`, all of which a repeated element does not change.
 */
export function padded<T>(piece: readonly T[]): readonly T[] {
  const step = piece.length <= 4 ? 1 : piece.length <= 64 ? 4 : 32;
  const length = Math.ceil(piece.length / step) * step;
  if (length === piece.length) return piece;
  const full = piece.slice();
  const last = full[full.length - 1] as T;
  while (full.length < length) full.push(last);
  return full;
}

/** A statement by the length of its list, put together once: hashing a long new text costs more than running the statement. */
export function sized(build: (count: number) => string): (count: number) => string {
  const texts: string[] = [];
  return (count) => {
    texts[count] ??= build(count);
    return texts[count];
  };
}

/** `tuple` repeated `count` times, joined by commas. */
export function repeated(tuple: string, count: number): string {
  return Array.from({ length: count }, () => tuple).join(', ');
}

/** `VALUES` for `count` tuples. Postgres takes the types of the columns, which are `column1`, `column2` … in both engines, from the first. */
export function valuesOf(types: readonly ('INTEGER' | 'TEXT')[], count: number): string {
  const first = `(${types.map((type) => `CAST(? AS ${type})`).join(', ')})`;
  const other = `(${types.map(() => '?').join(', ')})`;
  return `VALUES ${first}${count > 1 ? `, ${repeated(other, count - 1)}` : ''}`;
}
