/** Facts that the system reports about a process tree, and the only reliable way to end one. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';

const isLinux = process.platform === 'linux';
const isWindows = process.platform === 'win32';
/** More than a task can have; bounds the work of one measurement. */
const MAX_TREE = 64;

/** Trees that must not outlive this process however it ends, except by SIGKILL. */
const tracked = new Set<number>();
let watched = false;

export function endWithThisProcess(pid: number): void {
  tracked.add(pid);
  if (watched) return;
  watched = true;
  process.on('exit', () => {
    for (const each of tracked) killTree(each);
  });
}

export function hasEnded(pid: number): void {
  tracked.delete(pid);
}

/** Sends SIGKILL to the process group that `pid` leads. */
export function killTree(pid: number): void {
  // 0 would be our own group.
  if (pid <= 0) return;
  try {
    if (isWindows) execFile('taskkill', ['/pid', String(pid), '/T', '/F'], () => {});
    else process.kill(-pid, 'SIGKILL');
  } catch {
    // Already ended.
  }
}

/** Returns the resident memory of `pid` and its descendants, in bytes; 0 if unknown. */
export async function residentBytes(pid: number): Promise<number> {
  if (isWindows) return 0;
  return isLinux ? residentOnLinux(pid) : residentByPs(pid);
}

/** Reasonable polling interval: reading /proc takes some tens of microseconds, `ps` a process. */
export const residentPollMs = isLinux ? 50 : 500;

/** Synchronous: /proc is in memory, and through the thread pool each of these files costs ten times as much CPU. */
function residentOnLinux(root: number): number {
  const tree = [root];
  let bytes = 0;
  for (let index = 0; index < tree.length && index < MAX_TREE; index += 1) {
    const pid = tree[index];
    try {
      bytes += Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1_024;
      for (const child of readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' '))
        if (child !== '') tree.push(Number(child));
    } catch {
      // Ended in the meantime, or a kernel that does not list children.
    }
  }
  return bytes;
}

function residentByPs(pid: number): Promise<number> {
  return new Promise((resolve) => {
    execFile('ps', ['-o', 'rss=', '-p', String(pid)], (error, stdout) => resolve(error ? 0 : Number(stdout.trim()) * 1_024));
  });
}
