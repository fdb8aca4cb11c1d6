import type { Command } from 'commander';
import { PeerworkError } from '../../errors.js';
import { quietPipes } from '../client/print.js';
import { serviceOf } from './installed.js';

const DEFAULT_LINES = 100;

export async function logs(command: Command): Promise<number> {
  quietPipes();
  const { lines = String(DEFAULT_LINES), follow = false } = command.opts<{ lines?: string; follow?: boolean }>();
  if (!/^\d{1,7}$/.test(lines)) throw new PeerworkError('option-invalid', `--lines is "${lines}", but must be a whole number`);
  const { keeper } = await serviceOf(command, 'logs');
  const ending = new AbortController();
  const end = () => ending.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  await keeper.logs({ lines: Number(lines), follow, signal: ending.signal });
  return 0;
}
