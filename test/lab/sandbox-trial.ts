/**
 * A program of its own, `node sandbox-trial.js required|off FOLDER`, so that it can run as another user: starts perl in a sandbox,
 * has it try what a job should not be able to do, and prints the result as JSON (`Trial`).
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir, realpath, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findSandbox } from '../../src/sandbox/sandbox.js';
import { isFiltered, refusedCalls } from '../../src/sandbox/seccomp.js';
import { findTool } from './require.js';

export interface Trial {
  readonly line: string;
  /** Calls that did not end as the filter's table says, with their errno (0 means they succeeded). */
  readonly escaped: readonly string[];
  /** Members of /proc/self/status. */
  readonly status: Readonly<Record<string, string>>;
  readonly devices: readonly string[];
  readonly sys: boolean;
  /** Whether anything below /dev is writable. */
  readonly writesDevices: boolean;
  /** Number of concurrent processes possible, of 400 tried. */
  readonly processes: number;
  /** The errno of sending signal 0 to the parent process, and of reading a file that only its user may read. */
  readonly signal: number;
  readonly reads: number;
  readonly writesOwn: boolean;
  /** What remains in the folder for temporary files. */
  readonly left: readonly string[];
}

const ENOUGH = 400;

async function main(sandbox: 'required' | 'off', folder: string): Promise<Trial> {
  const perl = await realpath(findTool('perl') ?? '');
  const bubblewrap = findTool('bwrap') ?? '';
  // Everything below is closed to other users, like the home of a Worker.
  const home = join(await realpath(folder), "a home' of its own");
  const workdir = join(home, 'room');
  const readable = join(home, 'task #1');
  for (const each of [home, workdir, readable]) await mkdir(each, { mode: each === readable ? 0o755 : 0o700 });
  const secret = join(home, 'secret');
  await writeFile(secret, 'private', { mode: 0o600 });
  await writeFile(join(readable, 'task.pl'), perlScript(secret), { mode: 0o644 });
  const found = await findSandbox({ sandbox, network: 'allow', memoryMb: 256, scratchBytes: 2 ** 30, bubblewrap, folder: home });
  const [program, ...args] = found.command({ workdir, readable: [readable, perl], environment: {} }, [perl, join(readable, 'task.pl')]);
  const { stdout } = await promisify(execFile)(program, args, { cwd: workdir, env: {} });
  const { calls, ...seen } = JSON.parse(stdout);
  const expected = isFiltered(process.arch) ? refusedCalls(process.arch) : [];
  const escaped = expected.flatMap(({ name, errno }, index) => (calls[index] === errno ? [] : [`${name}: ${calls[index]}`]));
  return { line: found.line, escaped, left: await readdir(tmpdir()), ...seen };
}

function perlScript(secret: string): string {
  const numbers = isFiltered(process.arch) ? refusedCalls(process.arch).map(({ number }) => number) : [];
  return `
    use strict;
    # A process for each, as what is not refused may change the process.
    my @calls;
    for my $number (${numbers.join(',')}) {
      my $pid = fork();
      if ($pid == 0) { my $result = syscall($number, 0, 0, 0, 0, 0, 0); exit($result == -1 ? $! + 0 : 0) }
      waitpid($pid, 0);
      push @calls, $? & 127 ? -($? & 127) : $? >> 8;
    }
    my %status;
    open(my $file, '<', '/proc/self/status');
    while (<$file>) { $status{$1} = $2 if /^(Uid|CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp):\\s+(\\S+)/ }
    my @children;
    while (@children < ${ENOUGH}) {
      my $pid = fork();
      last unless defined $pid;
      if ($pid == 0) { sleep 30; exit 0 }
      push @children, $pid;
    }
    kill 'KILL', @children;
    waitpid($_, 0) for @children;
    opendir(my $folder, '/dev');
    my @devices = sort grep { !/^\\./ } readdir($folder);
    my $signal = kill(0, ${process.pid}) ? 0 : $! + 0;
    my $reads = open(my $private, '<', ${perlText(secret)}) ? 0 : $! + 0;
    my $writes = open(my $new, '>', '/dev/new') ? 'true' : 'false';
    unlink '/dev/new';
    my $own = open(my $mine, '>', 'mine') ? 'true' : 'false';
    printf '{"calls":[%s],"status":{%s},"devices":[%s],"sys":%s,"writesDevices":%s,"processes":%d,"signal":%d,"reads":%d,"writesOwn":%s}',
      join(',', @calls), join(',', map { qq("$_":"$status{$_}") } keys %status), join(',', map { qq("$_") } @devices),
      -e '/sys' ? 'true' : 'false', $writes, @children + 1, $signal, $reads, $own;`;
}

function perlText(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}

const [, , sandbox, folder = ''] = process.argv;
console.log(JSON.stringify(await main(sandbox === 'required' ? 'required' : 'off', folder)));
