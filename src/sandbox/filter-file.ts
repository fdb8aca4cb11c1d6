import { randomBytes } from 'node:crypto';
import { openSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isFiltered, seccompFilter } from './seccomp.js';

/** The descriptor by which bubblewrap finds the filter. Of one digit: a shell need not know more. */
export const FILTER_FD = 9;

let kept: string | undefined;

/**
 * The words in front of a command that open the filter for it as `FILTER_FD`; empty where there is no filter for this architecture.
 * Each command opens it anew, since a shared descriptor would be read to its end by the first. The file has no name any more and ends with
 * this process: nothing is left behind, and nobody can put another in its place.
 */
export function openFilter(architecture: string = process.arch): readonly string[] {
  if (!isFiltered(architecture)) return [];
  kept ??= writeFilter(seccompFilter(architecture));
  return ['/bin/sh', '-c', `exec "$@" ${FILTER_FD}<"$0"`, kept];
}

function writeFilter(bytes: Buffer): string {
  const path = join(tmpdir(), `peerwork-seccomp-${randomBytes(12).toString('hex')}`);
  const descriptor = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  writeSync(descriptor, bytes);
  return `/proc/${process.pid}/fd/${descriptor}`;
}
