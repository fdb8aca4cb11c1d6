/**
 * Access for another uid to folders below one that is closed to it, such as /root: in a private mount namespace an empty folder covers
 * the closed one, and contains only what a room may see, at its original path.
 */
import { lstatSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { findTool } from './tools.js';

/** Paths that a program must be able to reach; absolute, with links resolved. */
export interface Paths {
  readonly workdir: string;
  readonly readable: readonly string[];
}

const SEARCHABLE = 0o001;
/** One of these holds the closed folders while they are being covered, and is itself covered at the end. */
const stages = ['/mnt', '/media', '/srv', '/opt'];

/** Returns, for each path, the topmost parent folder that others may not traverse; none if the path is accessible. */
export function closedFolders({ workdir, readable }: Paths): string[] {
  const closed = new Set<string>();
  for (const path of [workdir, ...readable]) {
    const folder = parentsOf(path).find((each) => (statSync(each).mode & SEARCHABLE) === 0);
    if (folder !== undefined) closed.add(folder);
  }
  return [...closed];
}

/**
 * Returns the words in front of a command that prepare the mounts for it, if `closed` is not empty; undefined if there is no folder to
 * stage them in. Must run as root; the command itself drops root afterwards.
 */
export function privateMounts({ workdir, readable }: Paths, closed: readonly string[]): string[] | undefined {
  const covered = [workdir, ...readable].filter((path) => closed.some((folder) => isBelow(path, folder)));
  const stage = stages.find((folder) => isFolder(folder) && ![workdir, ...readable].some((path) => isBelow(path, folder)));
  if (stage === undefined) return undefined;
  const staged = (path: string) => {
    const index = closed.findIndex((folder) => isBelow(path, folder));
    return `${stage}/${index}${path.slice(closed[index]?.length)}`;
  };
  const folders = [
    ...closed.map((folder, index) => line(folder, `${stage}/${index}`, 'none', 'bind,X-mount.mkdir')),
    ...closed.map((folder) => line('covered', folder, 'tmpfs', 'mode=755,size=1m')),
    ...covered
      .filter(isFolder)
      .map((path) => line(staged(path), path, 'none', path === workdir ? 'bind,X-mount.mkdir' : 'bind,ro,X-mount.mkdir')),
  ];
  const files = covered.filter((path) => !isFolder(path));
  const rest = [...files.map((path) => line(staged(path), path, 'none', 'bind,ro')), line('end', stage, 'tmpfs', 'mode=755,size=4k,ro')];
  const makeFiles = files.map((path) => `mkdir -p ${quoted(dirname(path))}; : >${quoted(path)}; `).join('');
  const mount = findTool('mount');
  const all = (lines: readonly string[]) => `printf '%s\\n' ${quoted(lines.join('\n'))} >${stage}/fstab; ${mount} -a -T ${stage}/fstab; `;
  const begin = `set -e; ${mount} -t tmpfs -o mode=700,size=64k stage ${stage}; `;
  const script = `${begin}${all(folders)}${makeFiles}${all(rest)}cd ${quoted(workdir)}; exec "$@"`;
  return [findTool('unshare'), '--mount', '--propagation', 'private', '--', '/bin/sh', '-c', script, 'sh'];
}

function parentsOf(path: string): string[] {
  const folders: string[] = [];
  for (let folder = dirname(path); folder !== '/'; folder = dirname(folder)) folders.unshift(folder);
  return folders;
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

function isFolder(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Formats a line of fstab(5). One call of mount(8) makes all the mounts, because a process for each would slow down every start. */
function line(source: string, target: string, type: string, options: string): string {
  return [source, target, type, options].map(escaped).join(' ');
}

function escaped(text: string): string {
  return text.replace(/[\s\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
