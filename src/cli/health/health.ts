import type { Command } from 'commander';
export async function health(_command: Command): Promise<number> {
  return 0;
}
