/** What the system holds a program to. Each program in front of another costs most of a millisecond at every start, so all is set in one. */
import { findTool } from './tools.js';

/** Threads count. Node alone has 7 at its start and 11 with its pool; native modules add some for each core. */
export const MAX_PROCESSES = 256;

/** What is not there is not limited. */
export interface Limits {
  /** Core dumps too: none. */
  readonly sizes?: { readonly dataBytes: number; readonly fileBytes: number };
  readonly processes?: number;
}

/** The words in front of a command, with prlimit(1); none for no limits. */
export function byPrlimit({ sizes, processes }: Limits, prlimit = findTool('prlimit')): string[] {
  const options = sizes === undefined ? [] : ['--core=0', `--data=${sizes.dataBytes}`, `--fsize=${sizes.fileBytes}`];
  if (processes !== undefined) options.push(`--nproc=${processes}`);
  return options.length === 0 ? [] : [prlimit, ...options, '--'];
}

/** Units of ulimit: -d has kibibytes; -f has blocks of 512 bytes in every sh, as POSIX says. */
const [KIB, BLOCK] = [1_024, 512];

/** The same as commands of sh, to be followed by another. */
export function byShell({ sizes, processes }: Limits): string {
  const commands: string[] = [];
  if (sizes !== undefined) {
    commands.push(`ulimit -c 0 && ulimit -d ${Math.ceil(sizes.dataBytes / KIB)} && ulimit -f ${Math.ceil(sizes.fileBytes / BLOCK)} && `);
  }
  // dash and busybox call it -p; in bash that is another thing, which cannot be set.
  if (processes !== undefined) commands.push(`{ ulimit -u ${processes} 2>/dev/null || ulimit -p ${processes}; } && `);
  return commands.join('');
}

/** What a program sees and may use. All paths are absolute, with links resolved. */
export interface ProgramAccess {
  /** Its own folder: the only one that it can write to, and its working directory. Where programs get a uid of their own, it is given to that uid. */
  readonly workdir: string;
  /** Files and folders that it can read, besides Node and the system's libraries. */
  readonly readable: readonly string[];
  /** Files and folders that it finds elsewhere in the sandbox than they are; readable. In the tier process they stay where they are. */
  readonly placed?: readonly { readonly source: string; readonly target: string }[];
  /** All that it sees of the environment. */
  readonly environment: Readonly<Record<string, string>>;
}
