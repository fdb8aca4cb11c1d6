import type { Value } from './driver.js';
import { storedJson } from './stored-json.js';

/**
 * libsql takes about 1 µs per value that it returns; for a job of a dozen columns that is more than SQLite needs to find the row. So the
 * columns between these marks cross over as one JSON array. To Postgres the marks are comments.
 */
const BEGIN = '/*[*/';
const END = '/*]*/';
const MARKED = /\/\*\[\*\/(.*?)\/\*\]\*\//s;
const NAME = 'packed';

/**
 * Marks comma-separated columns of a SELECT for packing. They must hold integers or short text: SQLite's JSON rounds fractions to 15
 * digits.
 */
export function packed(columns: string): string {
  return `${BEGIN}${columns}${END}`;
}

type Row = Record<string, Value>;

/** A statement as SQLite runs it, and the function that restores its rows to those of the original statement. */
export interface Packing {
  readonly sql: string;
  readonly unpack: ((row: Row) => Row) | undefined;
}

export function packing(sql: string): Packing {
  const columns = MARKED.exec(sql)?.[1]?.split(',');
  if (columns === undefined) return { sql, unpack: undefined };
  const names = columns.map((column) => /(\w+)\s*$/.exec(column)?.[1] ?? '');
  const values = columns.map((column) => column.replace(/\sAS\s+\w+\s*$/, ''));
  return {
    sql: sql.replace(MARKED, () => `json_array(${values.join(',')}) AS ${NAME}`),
    unpack: ({ [NAME]: text, ...row }) => {
      const parts = storedJson<readonly Value[]>(String(text));
      for (const [at, name] of names.entries()) row[name] = parts[at] ?? null;
      return row;
    },
  };
}
