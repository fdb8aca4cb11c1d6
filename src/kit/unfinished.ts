import { randomBytes } from 'node:crypto';
import { systemCode } from './system-error.js';

/** Tells this process from an earlier one with the same id: in a container every Worker may be number 1. */
const INSTANCE = randomBytes(3).toString('hex');

/** A name for something unfinished. The process id in it lets a later process tell whether its maker still lives. */
export function unfinishedName(prefix: string): string {
  return `${prefix}.${process.pid}.${INSTANCE}${randomBytes(4).toString('hex')}`;
}

/** Whether the maker of such a name is gone. Not sure across containers that share the folder: only delete or copy on its word. */
export function isAbandoned(name: string): boolean {
  const [, digits, instance] = /\.(\d+)\.([0-9a-f]{6})[0-9a-f]{6,8}$/.exec(name) ?? [];
  const pid = Number(digits);
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  if (pid === process.pid) return instance !== INSTANCE;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return systemCode(error) === 'ESRCH';
  }
}
