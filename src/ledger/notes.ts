import type { Transaction } from './transaction.js';

const READ = 'SELECT value FROM note WHERE name = ?';
const WRITE = 'INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value';
const WRITE_FIRST = 'INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING';
const REPLACE = 'UPDATE note SET value = ? WHERE name = ? AND value = ?';

/** Reads a note: a small durable value by key. */
export async function readNote(transaction: Transaction, key: string): Promise<string | undefined> {
  const [row] = await transaction.all<{ value: string }>(READ, [key]);
  return row?.value;
}

export async function writeNote(transaction: Transaction, key: string, value: string): Promise<void> {
  await transaction.run(WRITE, [key, value]);
}

/** Stores the value unless there is one. Returns the value in effect: this one, or another Master's. */
export async function agreeOnNote(transaction: Transaction, key: string, value: string): Promise<string> {
  await transaction.run(WRITE_FIRST, [key, value]);
  return (await readNote(transaction, key)) ?? value;
}

/** Stores the value if the note is still as it was read, undefined if it was absent. Returns whether it was. */
export async function replaceNote(transaction: Transaction, key: string, before: string | undefined, value: string): Promise<boolean> {
  const changed = await (before === undefined
    ? transaction.run(WRITE_FIRST, [key, value])
    : transaction.run(REPLACE, [value, key, before]));
  return changed > 0;
}
