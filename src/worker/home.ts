import { join, resolve } from 'node:path';
import { PeerworkError } from '../errors.js';
import { makeFolder } from '../kit/make-folder.js';
import { isLock, type LockHolder, type ProcessLock, takeLock } from '../kit/process-lock.js';
import { fileError } from '../kit/system-error.js';

/** More workers than this in one home can only be a mistake. */
const MAX_WORKERS = 256;

/**
 * A worker's own folder. Workers on one machine may share a home: each takes the first free `workers/N` (key, outbox, scratch,
 * workplaces), and all share `store` (files of tasks, dependencies), which several processes may use at once.
 */
export interface Home {
  readonly keyFile: string;
  readonly outbox: string;
  /** Files of outcomes in the outbox. */
  readonly outgoing: string;
  readonly scratch: string;
  readonly workplaces: string;
  readonly store: string;
  /** Holds one folder per source and runner that keeps files. */
  readonly sources: string;
  readonly runners: string;
  release(): Promise<void>;
}

/**
 * Takes a worker's folder in `home`. Folders of living workers are skipped and reported to `onTaken`. Rejects with `home-locked` if
 * none is free, or with the code for the system's error: `file-denied`, `disk-full`, `path-too-long` and similar.
 */
export async function takeHome(home: string, onTaken: (folder: string, pid: number) => void = () => {}): Promise<Home> {
  const root = resolve(home);
  for (let number = 1; number <= MAX_WORKERS; number += 1) {
    const folder = join(root, 'workers', String(number));
    const lock = await lockFolder(folder);
    if (!isLock(lock)) {
      onTaken(folder, lock.pid);
      continue;
    }
    return {
      keyFile: join(folder, 'key.json'),
      outbox: join(folder, 'outbox'),
      outgoing: join(folder, 'outgoing'),
      scratch: join(folder, 'scratch'),
      workplaces: join(folder, 'workplaces'),
      store: join(root, 'store'),
      sources: join(folder, 'sources'),
      runners: join(folder, 'runners'),
      release: () => lock.release(),
    };
  }
  throw new PeerworkError('home-locked', `${MAX_WORKERS} of them in ${root}`);
}

async function lockFolder(folder: string): Promise<ProcessLock | LockHolder> {
  try {
    makeFolder(folder);
    return await takeLock(join(folder, 'lock'));
  } catch (error) {
    throw fileError(error, 'home-unusable', folder);
  }
}
