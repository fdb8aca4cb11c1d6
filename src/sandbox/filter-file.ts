import { randomBytes } from 'node:crypto';
import { openSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { byShell, type Limits } from './limits.js';
import { isFiltered, seccompFilter } from './seccomp.js';

/** The descriptor by which bubblewrap finds the filter. Of one digit: a shell need not know more. */
export const FILTER_FD = 9;

let kept: string | undefined;

/**
 * Where the filter can be read; undefined where there is none for this architecture. The file has no name any more and ends with this process:
 * nothing is left behind, and nobody can put another in its place.
 */
export function filterFile(architecture: string = process.arch): string | undefined {
  if (!isFiltered(architecture)) return undefined;
  kept ??= writeFilter(seccompFilter(architecture));
  return kept;
}

/**
 * The words in front of a command that limit it and open the filter for it as `FILTER_FD`. Each command opens it anew, since a shared
 * descriptor would be read to its end by the first.
 */
export function openFilter(file: string, limits: Limits): string[] {
  return ['/bin/sh', '-c', `${byShell(limits)}exec "$@" ${FILTER_FD}<"$0"`, file];
}

function writeFilter(bytes: Buffer): string {
  const path = join(tmpdir(), `peerwork-seccomp-${randomBytes(12).toString('hex')}`);
  const descriptor = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  writeSync(descriptor, bytes);
  return `/proc/${process.pid}/fd/${descriptor}`;
}
