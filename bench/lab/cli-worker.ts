import { type ChildProcess, execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Grid } from './grid.js';
import type { Lab } from './lab.js';

/** `node worker.js`, as its owner starts it. */
export function spawnCliWorker(lab: Lab, grid: Grid, home: string, concurrency = 1): ChildProcess {
  const { PATH, HOME, SystemRoot } = process.env;
  return lab.spawn(process.execPath, [join(lab.root, 'worker.js')], {
    env: {
      ...(PATH === undefined ? {} : { PATH }),
      ...(HOME === undefined ? {} : { HOME }),
      ...(SystemRoot === undefined ? {} : { SystemRoot }),
      token: grid.token,
      name: 'bench',
      PEERWORK_HOME: home,
      PEERWORK_CONCURRENCY: String(concurrency),
      LOG_LEVEL: 'warn',
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** Resident memory of one process, without its children. */
export function residentBytes(pid: number): number {
  if (process.platform === 'linux') return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024;
  return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) * 1_024;
}

/** Milliseconds of user and system time that one process has taken, without its children; unknown where there is no /proc. */
export function cpuOf(pid: number): number {
  if (process.platform !== 'linux') return Number.NaN;
  // Fields 14 and 15 of proc(5), in ticks of 10 ms; the second field is a name in parentheses that may hold anything.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
