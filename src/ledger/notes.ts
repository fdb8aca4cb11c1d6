import type { Transaction } from './transaction.js';

const READ = 'SELECT value FROM note WHERE name = ?';
const WRITE = 'INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value';
const WRITE_FIRST = 'INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING';

/** Small durable values by key. */
export async function readNote(transaction: Transaction, key: string): Promise<string | undefined> {
  const [row] = await transaction.all<{ value: string }>(READ, [key]);
  return row?.value;
}

export async function writeNote(transaction: Transaction, key: string, value: string): Promise<void> {
  await transaction.run(WRITE, [key, value]);
}

/** Returns the value that is kept: this one, or that of another Master. */
export async function agreeOnNote(transaction: Transaction, key: string, value: string): Promise<string> {
  await transaction.run(WRITE_FIRST, [key, value]);
  return (await readNote(transaction, key)) ?? value;
}
