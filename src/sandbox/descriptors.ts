/**
 * Prevents a child from inheriting our open descriptors. Node opens everything close-on-exec, native modules do not: without this a task
 * could read the worker's own UDP sockets (measured with node-datachannel on Linux).
 */
import { openSync, readdirSync, readFileSync } from 'node:fs';

const FOLDERS = process.platform === 'linux' ? ['/proc/self/fd', '/dev/fd'] : ['/dev/fd'];
/** Allowance for descriptors that another thread opens between our check and the fork. */
const MARGIN = 16;
const O_CLOEXEC = 0o2_000_000;

let devNull: number | undefined;

/** Returns entries for `stdio` of spawn, from descriptor `from` on, that substitute /dev/null for anything that would be inherited. */
export function blankDescriptors(from: number): ('ignore' | number)[] {
  if (process.platform === 'win32') return [];
  devNull ??= openSync('/dev/null', 'r+');
  const open = new Set(openDescriptors());
  const entries: ('ignore' | number)[] = [];
  const end = Math.max(from, ...open) + MARGIN;
  for (let descriptor = from; descriptor < end; descriptor += 1) {
    entries.push(open.has(descriptor) && closesOnExec(descriptor) ? 'ignore' : devNull);
  }
  return entries;
}

function openDescriptors(): number[] {
  for (const folder of FOLDERS) {
    try {
      return readdirSync(folder).map(Number);
    } catch {
      // Not available here; try the next.
    }
  }
  return [];
}

function closesOnExec(descriptor: number): boolean {
  try {
    const flags = /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'latin1'))?.[1];
    return (Number.parseInt(flags ?? '0', 8) & O_CLOEXEC) !== 0;
  } catch {
    return false;
  }
}
