/** The tier without a sandbox: limits, no privileges, and where root starts it a uid of its own for each program. */
import { chownSync } from 'node:fs';
import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { becoming, MAX_PROCESSES } from './bwrap.js';
import { closedFolders, type Paths, privateMounts } from './private-mounts.js';
import type { Room } from './room.js';
import { findTool, tryOut, WORKED } from './tools.js';
import { findUids, type Uids } from './uids.js';

/** What this machine has for it. */
export interface Bounds {
  /** In front of every program. */
  readonly sizes: readonly string[];
  /** Not with bubblewrap, which needs its privileges to set up, and then does the same itself. */
  readonly privileges: readonly string[];
}

export interface Sizes {
  readonly dataBytes: number;
  readonly fileBytes: number;
}

/** The words in front of a program that limit it, as far as this machine has the tools. */
export async function findBounds({ dataBytes, fileBytes }: Sizes): Promise<Bounds> {
  if (process.platform !== 'linux') return { sizes: [], privileges: [] };
  const prlimit = [findTool('prlimit'), '--core=0', `--data=${dataBytes}`, `--fsize=${fileBytes}`, '--'];
  const setpriv = [...endsWithUs(), '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all', '--'];
  const meek = [...endsWithUs(), '--no-new-privs', '--'];
  const fits = async (words: readonly string[]) => (await tryOut([...words, '/bin/sh', '-c', `exit ${WORKED}`])) === undefined;
  const [sized, bound, meekly] = await Promise.all([fits(prlimit), fits(setpriv), fits(meek)]);
  return { sizes: sized ? prlimit : [], privileges: bound ? setpriv : meekly ? meek : [] };
}

function endsWithUs(): string[] {
  return [findTool('setpriv'), '--pdeathsig', 'KILL'];
}

/** How root gives each program a uid of its own here. */
export interface OwnUid {
  readonly uids: Uids;
  /** Folders below closed ones can be shown to it. */
  readonly mounts: boolean;
}

/** Undefined for ordinary users, and where the ids or the tools are missing. */
export async function findOwnUid(): Promise<OwnUid | undefined> {
  const uids = findUids();
  if (uids === undefined) return undefined;
  for (const mounts of [true, false]) {
    const folder = await mkdtemp(join(await realpath(tmpdir()), 'peerwork-trial-'));
    // Below the folder, which only root may enter, or the folder itself.
    const workdir = mounts ? join(folder, 'room') : folder;
    await mkdir(workdir, { recursive: true });
    const words = asOwnUid({ uids, mounts }, { workdir, readable: [import.meta.filename], environment: {} });
    const program = [process.execPath, '-e', trial(workdir)];
    const fault = words === undefined ? 'closed' : await tryOut([...words, ...program]);
    await rm(folder, { recursive: true, force: true });
    if (fault === undefined) return { uids, mounts };
  }
  return undefined;
}

/** A script that reads what is ours and writes into its room. */
export function trial(workdir: string): string {
  const [ours, own] = [import.meta.filename, join(workdir, 'file')].map((path) => JSON.stringify(path));
  return `const fs = require('fs'); fs.readFileSync(${ours}); fs.writeFileSync(${own}, ''); process.exit(${WORKED})`;
}

/** True if a program with a uid of its own would get to a room in this folder. */
export function reaches({ mounts }: OwnUid, folder: string): boolean {
  return mounts || closedFolders({ workdir: join(folder, 'room'), readable: [] }).length === 0;
}

/** The words in front of a program that give it a uid, and the room's folder to that; undefined if it could not get to its room. */
export function asOwnUid({ uids, mounts }: OwnUid, room: Room): string[] | undefined {
  const paths: Paths = {
    workdir: room.workdir,
    readable: [process.execPath, ...room.readable, ...(room.placed ?? []).map(({ source }) => source)],
  };
  const closed = closedFolders(paths);
  const opened = closed.length === 0 ? [] : mounts ? privateMounts(paths, closed) : undefined;
  if (opened === undefined) return undefined;
  const uid = uids.take();
  chownSync(room.workdir, uid, uid);
  return [findTool('prlimit'), `--nproc=${MAX_PROCESSES}`, '--', ...opened, ...endsWithUs(), ...becoming(uid), '--'];
}
