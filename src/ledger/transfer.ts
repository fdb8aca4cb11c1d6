import { PeerworkError } from '../errors.js';
import { fieldSpec } from '../job/job-fields.js';
import { GIVEN_VALUE, MAX_MESSAGE_BYTES } from '../job/limits.js';
import { type JsonRefused, parseJson } from '../kit/json.js';
import { shown } from '../kit/shown.js';
import type { Driver, Statements, Value } from './driver.js';
import { storedFields } from './job-columns.js';
import { pieces, repeated } from './lists.js';
import { SCHEMA_VERSION } from './migrate.js';
import { openDriver } from './open.js';

/**
 * A table of an export. A ledger is exported as NDJSON: a header, the rows of each table as arrays in the order of its columns, and a
 * trailer with their counts, so that a truncated file is detected. Counters are included, so that no number is drawn twice. Leases are
 * included but expired: their holders may still settle under them.
 */
interface Table {
  readonly name: string;
  readonly columns: readonly string[];
  /** The columns by which rows are paged: unique and not null. */
  readonly key: readonly string[];
}

const FORMAT = 'peerwork ledger';
const PAGE = 500;
/** Maximum length of a line of an export: a job with its data and output, which are JSON in JSON. */
export const MAX_LINE_BYTES = 4 * MAX_MESSAGE_BYTES;
const LINE_LIMITS = { maxBytes: MAX_LINE_BYTES, maxDepth: 4 };

const tables: readonly Table[] = [
  { name: 'lane', key: ['seq'], columns: ['seq', 'channel', 'requires'] },
  { name: 'grp', key: ['seq'], columns: ['seq', 'id', 'name', 'paused', 'parent_failure', 'created_at', 'retain_ms', 'meta', 'resuming'] },
  {
    name: 'workgroup',
    key: ['seq'],
    columns: ['seq', 'id', 'held_until', 'max_running', 'rate', 'period_ms', 'window_at', 'window_used', 'waiting'],
  },
  { name: 'worker', key: ['seq'], columns: ['seq', 'id', 'name', 'labels', 'approved_at', 'revoked_at', 'drained_at'] },
  {
    name: 'schedule',
    key: ['seq'],
    columns: ['seq', 'id', 'cron', 'time_zone', 'missed', 'paused', 'last_at', 'next_at', 'job'],
  },
  {
    name: 'job',
    key: ['seq'],
    columns: [
      ...`seq id state pending grp workgroup weight weight_part attempts_made lease lease_until worker settled_lease settled_seq created_at started_at
      finished_at lane plain parked parents merged_with begun_at dated_at error output outcome_files`.split(/\s+/),
      ...storedFields.map(({ column }) => column),
    ],
  },
  { name: 'file', key: ['seq'], columns: ['seq', 'sha256', 'size', 'used_at'] },
  { name: 'job_file', key: ['job', 'file'], columns: ['job', 'file'] },
  { name: 'edge', key: ['parent', 'child'], columns: ['parent', 'child', 'place', 'done'] },
  { name: 'history', key: ['seq'], columns: ['seq', 'job', 'happened_at', 'kind', 'body'] },
  { name: 'note', key: ['name'], columns: ['name', 'value'] },
  { name: 'counter', key: ['name'], columns: ['name', 'value'] },
];

/** Yields the lines of an export, without line ends. The ledger must be at the current schema, and nobody may write to it meanwhile. */
export async function* exportLines(driver: Driver): AsyncGenerator<string, void, undefined> {
  yield JSON.stringify({ format: FORMAT, schema: SCHEMA_VERSION });
  const counts: Record<string, number> = {};
  for (const table of tables) {
    yield JSON.stringify({ table: table.name, columns: table.columns });
    counts[table.name] = 0;
    const rows = table.name === 'counter' ? countersOf(driver) : rowsOf(driver, table);
    for await (const row of rows) {
      counts[table.name] = (counts[table.name] ?? 0) + 1;
      yield JSON.stringify(row);
    }
  }
  yield JSON.stringify({ end: counts });
}

async function* rowsOf(driver: Driver, { name, columns, key }: Table): AsyncGenerator<Value[], void, undefined> {
  const select = `SELECT ${columns.join(', ')} FROM ${name}`;
  const order = `ORDER BY ${key.join(', ')} LIMIT ${PAGE}`;
  const beyond = key.length === 1 ? `${key[0]} > ?` : `${key[0]} > ? OR (${key[0]} = ? AND ${key[1]} > ?)`;
  let last: Readonly<Record<string, Value>> | undefined;
  for (;;) {
    const at = key.map((column): Value => last?.[column] ?? null);
    const values = key.length === 1 ? at : [at[0] ?? null, ...at];
    const rows = await driver.all<Record<string, Value>>(
      last === undefined ? `${select} ${order}` : `${select} WHERE ${beyond} ${order}`,
      last === undefined ? [] : values,
    );
    for (const row of rows) yield columns.map((column) => row[column] ?? null);
    last = rows[rows.length - 1];
    if (rows.length < PAGE) return;
  }
}

/** Reads the counters with what was drawn from them: an engine that has its own leaves their rows behind. */
async function* countersOf(driver: Driver): AsyncGenerator<Value[], void, undefined> {
  yield* await driver.transaction(async (sql) => {
    const counters = await sql.all<{ name: string; value: number }>('SELECT name, value FROM counter ORDER BY name');
    const rows: Value[][] = [];
    for (const { name, value } of counters) rows.push([name, Math.max(value, (await sql.numbers?.drawn(name)) ?? 0)]);
    return rows;
  });
}

/**
 * Fills an empty ledger from the lines of an export, all or nothing. Rejects with `ledger-not-empty`, or with `export-invalid` and the
 * number of the invalid line. Returns the number of rows per table.
 */
export async function importLines(driver: Driver, lines: AsyncIterable<string>): Promise<Readonly<Record<string, number>>> {
  const begin = driver.exclusively?.bind(driver) ?? driver.transaction.bind(driver);
  return begin(async (sql) => {
    const [{ jobs = 0 } = {}] = await sql.all<{ jobs: number }>('SELECT COUNT(*) AS jobs FROM job');
    if (jobs > 0) throw new PeerworkError('ledger-not-empty', `${jobs} jobs`);
    for (const { name } of tables) if (name !== 'note') await sql.run(`DELETE FROM ${name}`);
    const counts = await fill(sql, lines);
    await sql.run("UPDATE job SET lease_until = 0 WHERE state = 'leased'");
    await sql.run('INSERT INTO tally (channel, state, shard, jobs) SELECT channel, state, 0, COUNT(*) FROM job GROUP BY channel, state');
    await sql.run(`INSERT INTO grp_tally (grp, state, shard, jobs, weight, weight_part)
      SELECT grp, state, 0, COUNT(*), CAST(SUM(weight) AS INTEGER), CAST(SUM(weight_part) AS INTEGER) FROM job WHERE grp IS NOT NULL GROUP BY grp, state`);
    for (const [counter, from] of [
      ['job', 'SELECT MAX(seq) FROM job'],
      ['settled', 'SELECT MAX(settled_seq) FROM job'],
      ['history', 'SELECT MAX(seq) FROM history'],
    ])
      await sql.run(`UPDATE counter SET value = COALESCE((${from}), 0) WHERE name = ? AND value < COALESCE((${from}), 0)`, [counter ?? '']);
    return counts;
  });
}

async function fill(sql: Statements, lines: AsyncIterable<string>): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {};
  let number = 0;
  let table: Table | undefined;
  let rows: Value[][] = [];
  let ended = false;
  const flush = async () => {
    const into = table;
    if (into === undefined || rows.length === 0) return;
    for (const piece of pieces(rows)) {
      const tuples = repeated(`(${repeated('?', into.columns.length)})`, piece.length);
      const insert = `INSERT INTO ${into.name} (${into.columns.join(', ')}) VALUES ${tuples} ON CONFLICT DO NOTHING`;
      await sql.run(insert, piece.flat()).catch((error: unknown) => {
        throw isRowError(error) ? invalidExport(number, `a row of ${into.name} cannot be stored`) : error;
      });
    }
    counts[into.name] = (counts[into.name] ?? 0) + rows.length;
    rows = [];
  };
  for await (const text of lines) {
    number += 1;
    if (text === '') continue;
    const line = parsed(text, number);
    if (ended) throw invalidExport(number, 'there is something after the end');
    if (Array.isArray(line)) {
      if (table === undefined || line.length !== table.columns.length || !line.every(isValue))
        throw invalidExport(number, 'this is no row of a table');
      checkJson(table, line, number);
      rows.push(line);
      if (rows.length >= PAGE / 2) await flush();
      continue;
    }
    if (number === 1) {
      if (line['format'] !== FORMAT) throw invalidExport(number, 'this is no export of a ledger');
      if (line['schema'] !== SCHEMA_VERSION)
        throw invalidExport(number, `its schema is ${shown(line['schema'])}, here it is ${SCHEMA_VERSION}`);
      continue;
    }
    await flush();
    if (line['end'] !== undefined) {
      const end = line['end'] as Readonly<Record<string, number>>;
      for (const { name } of tables)
        if ((end[name] ?? 0) !== (counts[name] ?? 0))
          throw invalidExport(number, `${end[name]} rows of ${name} are announced, ${counts[name] ?? 0} are there`);
      ended = true;
      continue;
    }
    table = tableOf(line);
    if (table === undefined) throw invalidExport(number, 'this is no table that is known here');
  }
  if (!ended) throw invalidExport(number, 'the file is cut off');
  return counts;
}

/** Returns the table with its columns in the file's order. */
function tableOf({ table: name, columns }: Readonly<Record<string, unknown>>): Table | undefined {
  const table = tables.find((each) => each.name === name);
  if (table === undefined || !Array.isArray(columns)) return undefined;
  const given = columns as readonly string[];
  const isSame = given.length === table.columns.length && table.columns.every((column) => given.includes(column));
  return isSame ? { ...table, columns: given } : undefined;
}

function parsed(text: string, number: number): Value[] | Readonly<Record<string, unknown>> {
  try {
    const line = parseJson(text, LINE_LIMITS);
    if (typeof line === 'object' && line !== null) return line as Value[] | Readonly<Record<string, unknown>>;
  } catch {
    // Refused below.
  }
  throw invalidExport(number, 'this is no JSON of an export');
}

/** Columns that hold JSON text: it must pass the same validation as all other foreign JSON. */
const JSON_COLUMNS: ReadonlySet<string> = new Set([
  ...['meta', 'error', 'output', 'body'],
  ...storedFields.flatMap(({ field, column }) => (fieldSpec(field).kind === 'json' ? [column] : [])),
]);

function checkJson({ name, columns }: Table, row: readonly Value[], number: number): void {
  for (const [index, column] of columns.entries()) {
    const text = row[index];
    if (typeof text !== 'string' || !(JSON_COLUMNS.has(column) || (name === 'schedule' && column === 'job'))) continue;
    try {
      parseJson(text, GIVEN_VALUE);
    } catch (thrown) {
      throw invalidExport(number, `${column} is not JSON that can be used: ${(thrown as JsonRefused).message}`);
    }
  }
}

/** Returns whether the row, not the database, is at fault: in SQLite a constraint or a type, in Postgres class 22 or 23. */
function isRowError(error: unknown): boolean {
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
  return /^SQLITE_(CONSTRAINT|MISMATCH|RANGE|TOOBIG)|^2[23]|^value-unstorable$/.test(code);
}

function isValue(value: unknown): value is Value {
  return value === null || typeof value === 'string' || (typeof value === 'number' && Number.isFinite(value));
}

/** The error for an invalid line of an export. */
export function invalidExport(number: number, detail: string): PeerworkError {
  return new PeerworkError('export-invalid', `line ${number}: ${detail}`);
}

/** Opens the engine of a ledger, migrated to the current schema, and closes it after `use`. */
export async function withDriver<T>(url: string, use: (driver: Driver) => Promise<T>): Promise<T> {
  const driver = await openDriver(url);
  try {
    return await use(driver);
  } finally {
    await driver.close();
  }
}
