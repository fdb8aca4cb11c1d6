/**
 * The limits that the system enforces on a program. Each wrapper process adds most of a millisecond to every start, so a single one sets
 * them all.
 */
import { findTool } from './tools.js';

/** Threads count. Node alone has 7 at start and 11 with its pool; native modules add some per core. */
export const MAX_PROCESSES = 256;

/** A missing limit is not enforced. */
export interface Limits {
  /** Also disables core dumps. */
  readonly sizes?: { readonly dataBytes: number; readonly fileBytes: number };
  readonly processes?: number;
}

/** Returns the words in front of a command that apply the limits with prlimit(1); none if there are no limits. */
export function byPrlimit({ sizes, processes }: Limits, prlimit = findTool('prlimit')): string[] {
  const options = sizes === undefined ? [] : ['--core=0', `--data=${sizes.dataBytes}`, `--fsize=${sizes.fileBytes}`];
  if (processes !== undefined) options.push(`--nproc=${processes}`);
  return options.length === 0 ? [] : [prlimit, ...options, '--'];
}

/** Units of ulimit: kibibytes for -d; blocks of 512 bytes for -f in every sh, as POSIX specifies. */
const [KIB, BLOCK] = [1_024, 512];

/** Returns the same limits as shell commands, to be followed by another. */
export function byShell({ sizes, processes }: Limits): string {
  const commands: string[] = [];
  if (sizes !== undefined) {
    commands.push(`ulimit -c 0 && ulimit -d ${Math.ceil(sizes.dataBytes / KIB)} && ulimit -f ${Math.ceil(sizes.fileBytes / BLOCK)} && `);
  }
  // dash and busybox call it -p; in bash that is a different, read-only limit.
  if (processes !== undefined) commands.push(`{ ulimit -u ${processes} 2>/dev/null || ulimit -p ${processes}; } && `);
  return commands.join('');
}

/** What a program can see and use. All paths are absolute, with links resolved. */
export interface ProgramAccess {
  /** Its working directory, the only folder it can write to. Where programs get a uid of their own, that uid becomes the owner. */
  readonly workdir: string;
  /** Files and folders that it can read, in addition to Node and the system's libraries. */
  readonly readable: readonly string[];
  /** Readable files and folders that appear at another path in the sandbox. In the tier `process` they keep their own path. */
  readonly placed?: readonly { readonly source: string; readonly target: string }[];
  /** The complete environment. */
  readonly environment: Readonly<Record<string, string>>;
}
