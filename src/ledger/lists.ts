/**
 * Lists of values in statements. The engines have no arrays in common, and each list length is a separate statement to prepare and cache,
 * so lists are padded to one of 25 lengths.
 */
const MAX_LENGTH = 256;

/** Splits `list` into pieces of at most 256. */
export function pieces<T>(list: readonly T[]): (readonly T[])[] {
  if (list.length === 0) return [];
  if (list.length <= MAX_LENGTH) return [list];
  const parts: (readonly T[])[] = [];
  for (let start = 0; start < list.length; start += MAX_LENGTH) parts.push(list.slice(start, start + MAX_LENGTH));
  return parts;
}

/**
 * Pads a piece to the next length with its last element. Used for `IN (…)`, `UPDATE … FROM (VALUES …)` and `INSERT … ON CONFLICT DO
 * NOTHING`, where a repeated element changes nothing.
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

/** Caches a statement per list length: hashing a long new text costs more than running the statement. */
export function sized(build: (count: number) => string): (count: number) => string {
  const texts: string[] = [];
  return (count) => {
    texts[count] ??= build(count);
    return texts[count];
  };
}

/** Returns `tuple` repeated `count` times, joined by commas. */
export function repeated(tuple: string, count: number): string {
  return Array.from({ length: count }, () => tuple).join(', ');
}

/**
 * Returns `VALUES` for `count` tuples. Postgres infers the column types from the first one; both engines name the columns `column1`,
 * `column2` and so on.
 */
export function valuesOf(types: readonly ('INTEGER' | 'TEXT')[], count: number): string {
  const first = `(${types.map((type) => `CAST(? AS ${type})`).join(', ')})`;
  const other = `(${types.map(() => '?').join(', ')})`;
  return `VALUES ${first}${count > 1 ? `, ${repeated(other, count - 1)}` : ''}`;
}
