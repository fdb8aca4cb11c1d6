import { mkdir, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { PeerworkError } from '../errors.js';
import { createWhole } from '../kit/whole-file.js';

/** Where peerwork keeps its things when nothing else is said, relative to the working directory. */
export const DEFAULT_HOME = '.peerwork';
/** More workers than this in one home are surely a mistake. */
const MAX_WORKERS = 256;

/**
 * A worker's own folder. Workers of one machine may share a home: each takes the first free `workers/N` (key, outbox, scratch,
 * workplaces), and all share `store` (files of tasks, dependencies), whose parts are safe to be used by several processes.
 */
export interface Home {
  readonly keyFile: string;
  readonly outbox: string;
  readonly scratch: string;
  readonly workplaces: string;
  readonly store: string;
  /** A folder for each source and runner that keeps something of its own. */
  readonly sources: string;
  readonly runners: string;
  release(): Promise<void>;
}

/** Folders taken by workers of this very process: its own pid in a lock file says nothing. */
const taken = new Set<string>();

/** Takes a worker's folder in `home`; throws `home-locked` if none is free. */
export async function takeHome(home: string): Promise<Home> {
  const root = resolve(home);
  for (let number = 1; number <= MAX_WORKERS; number += 1) {
    const folder = join(root, 'workers', String(number));
    const lock = await lockFolder(folder);
    if (lock === undefined) continue;
    return {
      keyFile: join(folder, 'key.json'),
      outbox: join(folder, 'outbox'),
      scratch: join(folder, 'scratch'),
      workplaces: join(folder, 'workplaces'),
      store: join(root, 'store'),
      sources: join(folder, 'sources'),
      runners: join(folder, 'runners'),
      release: lock,
    };
  }
  throw new PeerworkError('home-locked', root);
}

async function lockFolder(folder: string): Promise<(() => Promise<void>) | undefined> {
  if (taken.has(folder)) return undefined;
  taken.add(folder);
  const path = join(folder, 'lock');
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (let tries = 0; tries < 3; tries += 1) {
      // As a whole: one that is found empty would be taken for that of a process that was killed.
      if (await createWhole(path, `${process.pid}\n`)) {
        return async () => {
          // It names a process that ends: whoever finds it takes it over.
          await rm(path, { force: true }).catch(() => {});
          taken.delete(folder);
        };
      }
      const pid = Number.parseInt(await readFile(path, 'utf8').catch(() => ''), 10);
      if (pid !== process.pid && isAlive(pid)) break;
      // Left behind by a process that was killed.
      await rm(path, { force: true });
    }
  } catch (error) {
    taken.delete(folder);
    throw error instanceof PeerworkError ? error : new PeerworkError('home-locked', folder, { cause: error });
  }
  taken.delete(folder);
  return undefined;
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
