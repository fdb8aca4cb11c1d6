import type { Transaction } from './transaction.js';

const READ = 'SELECT value FROM note WHERE name = ?';
const WRITE = 'INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value';
const WRITE_FIRST = 'INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING';

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
