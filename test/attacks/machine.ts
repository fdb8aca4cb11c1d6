import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** The entries of a folder that are numbers, such as the processes in /proc. */
export function listNumbers(folder: string): number[] {
  return readdirSync(folder).map(Number).filter(Number.isSafeInteger);
}

/** Resident memory of one process in MiB; 0 if it is gone. */
export function residentMb(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024;
  } catch {
    return 0;
  }
}

/** The inode numbers of the sockets that a process has open. */
export function socketsOf(pid: number): number[] {
  return listNumbers(`/proc/${pid}/fd`).flatMap((fd) => {
    const socket = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1];
    return socket === undefined ? [] : [Number(socket)];
  });
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

/** Every process below this one. */
export function processesBelow(pid: number): number[] {
  const found: number[] = [];
  const queue = [pid];
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    for (const child of childrenOf(next)) {
      found.push(child);
      queue.push(child);
    }
  }
  return found;
}

function childrenOf(pid: number): number[] {
  try {
    return listNumbers(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}
