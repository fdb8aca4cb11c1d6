import { type ChildProcess, spawn } from 'node:child_process';
import { FOLDER_PREFIX } from '../egress/proxy.js';
import type { CommandLine } from './command-line.js';

/** Reads until this process is gone; then removes the containers left running, unless it said `bye`. */
const script = `
while IFS= read -r line; do [ "$line" = bye ] && exit 0; done
PATH="$PATH:/usr/sbin:/sbin"
rm -rf "\${TMPDIR:-/tmp}/${FOLDER_PREFIX}$3-"*
ids=$("$1" ps -aq --filter "label=peerwork.worker=$2")
[ -z "$ids" ] || "$1" rm -f -v $ids
ids=$("$1" network ls -q --filter "label=peerwork.worker=$2")
[ -z "$ids" ] || { "$1" network rm $ids; nft list tables; } | while read -r table inet name; do
  case "$name" in "peerwork_$2_"*) nft delete table inet "$name";; esac
done
`;

/**
 * Makes containers end with the worker, even if it is killed with SIGKILL; the engine would let them run on. A shell of 1 MB holds the
 * other end of a pipe; when that breaks, it removes the containers of this worker, with their networks, rules and sockets. Without `sh`
 * (Windows), containers are removed at the next start.
 */
export class Leash {
  readonly #command: CommandLine;
  readonly #worker: string;
  #shell: ChildProcess | undefined;

  constructor(command: CommandLine, worker: string) {
    this.#command = command;
    this.#worker = worker;
  }

  hold(): void {
    if (this.#shell !== undefined || process.platform === 'win32') return;
    const { program, environment } = this.#command;
    // In a session of its own: whatever ends the worker's group must not end this.
    const shell = spawn('/bin/sh', ['-c', script, 'peerwork-leash', program, this.#worker, String(process.pid)], {
      env: { ...environment },
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    const onExit = () => {
      if (this.#shell === shell) this.#shell = undefined;
    };
    shell.once('error', onExit);
    shell.once('exit', onExit);
    shell.stdin?.on('error', () => {});
    shell.unref();
    this.#shell = shell;
  }

  /** Called when all containers are gone, so that the shell has nothing to do. */
  async release(): Promise<void> {
    const shell = this.#shell;
    this.#shell = undefined;
    if (shell === undefined) return;
    shell.ref();
    const exit = new Promise<void>((resolve) => shell.once('exit', () => resolve()));
    shell.stdin?.end('bye\n');
    await exit;
  }
}
