import type { ChildProcess } from 'node:child_process';
import { execFileSync } from 'node:child_process';
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
