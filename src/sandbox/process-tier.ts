/** The tier without a sandbox: limits, no privileges, and, if started by root, a uid of its own for each program. */
import { chownSync } from 'node:fs';
import { mkdir, mkdtemp, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from '../kit/remove-tree.js';
import { becomeUid } from './bwrap.js';
import { byPrlimit, type Limits, MAX_PROCESSES, type ProgramAccess } from './limits.js';
import { closedFolders, type Paths, privateMounts } from './private-mounts.js';
import { findTool, tryOut, WORKED } from './tools.js';
import { findUids, type Uids } from './uids.js';

/** The means that this machine has for it. */
export interface Bounds {
  /** Limits for every program. */
  readonly limits: Limits;
  /** Not with bubblewrap, which needs its privileges for the set-up and then does the same itself. */
  readonly privileges: readonly string[];
}

/** Detects the limits and privileges for which this machine has the tools. */
export async function findBounds(sizes: NonNullable<Limits['sizes']>): Promise<Bounds> {
  if (process.platform !== 'linux') return { limits: {}, privileges: [] };
  const full = [...dieWithParent(), '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all', '--'];
  const minimal = [...dieWithParent(), '--no-new-privs', '--'];
  const fits = async (words: readonly string[]) => (await tryOut([...words, '/bin/sh', '-c', `exit ${WORKED}`])) === undefined;
  const [fitsSizes, fitsFull, fitsMinimal] = await Promise.all([fits(byPrlimit({ sizes })), fits(full), fits(minimal)]);
  return { limits: fitsSizes ? { sizes } : {}, privileges: fitsFull ? full : fitsMinimal ? minimal : [] };
}

function dieWithParent(): string[] {
  return [findTool('setpriv'), '--pdeathsig', 'KILL'];
}

/** How root gives each program a uid of its own here. */
export interface OwnUid {
  readonly uids: Uids;
  /** Whether folders below closed ones can be exposed to it. */
  readonly mounts: boolean;
}

/**
 * Tests own uids in a folder like that of rooms. Returns undefined for ordinary users, if ids or tools are missing, and if the uid could
 * not reach its room.
 */
export async function findOwnUid(rooms: string): Promise<OwnUid | undefined> {
  const uids = findUids();
  if (uids === undefined) return undefined;
  for (const mounts of [true, false]) {
    const works = await inTrialRoom(rooms, async (folder) => {
      // Below the folder, which only root may enter, or the folder itself.
      const workdir = mounts ? join(folder, 'room') : folder;
      await mkdir(workdir, { recursive: true });
      const words = asOwnUid({ uids, mounts }, {}, { workdir, readable: [import.meta.filename], environment: {} });
      return words !== undefined && (await tryOut([...words, process.execPath, '-e', trial(workdir)])) === undefined;
    }).catch(() => false);
    if (works) return { uids, mounts };
  }
  return undefined;
}

/** Calls `use` with a new folder of our own, and then removes it. Rejects if that is not possible. */
export async function inTrialRoom<T>(rooms: string, use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(await realpath(rooms), 'peerwork-trial-'));
  return use(folder).finally(() => removeTree(folder));
}

/** Returns a script that reads a file of ours and writes into its room. */
export function trial(workdir: string): string {
  const [ours, own] = [import.meta.filename, join(workdir, 'file')].map((path) => JSON.stringify(path));
  return `const fs = require('fs'); fs.readFileSync(${ours}); fs.writeFileSync(${own}, ''); process.exit(${WORKED})`;
}

/**
 * Returns the words in front of a program that limit it and give it a uid, which becomes the owner of the room's folder; undefined if the
 * uid could not reach its room.
 */
export function asOwnUid({ uids, mounts }: OwnUid, limits: Limits, room: ProgramAccess): string[] | undefined {
  const paths: Paths = {
    workdir: room.workdir,
    readable: [process.execPath, ...room.readable, ...(room.placed ?? []).map(({ source }) => source)],
  };
  const closed = closedFolders(paths);
  const opened = closed.length === 0 ? [] : mounts ? privateMounts(paths, closed) : undefined;
  if (opened === undefined) return undefined;
  const uid = uids.take();
  chownSync(room.workdir, uid, uid);
  return [...byPrlimit({ ...limits, processes: MAX_PROCESSES }), ...opened, ...dieWithParent(), ...becomeUid(uid), '--'];
}
