/** The programs of this machine that build a wall. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Only bounds what hangs: on a busy machine a working wall must not be mistaken for a missing one. */
const TRIAL_MS = 60_000;
/** The whole line about isolation must fit into the 200 characters that a worker may report about itself. */
const MAX_REASON_CHARS = 60;
/** Exit code of a trial's command. */
export const WORKED = 7;

/** Returns the absolute path of a tool, because children have no PATH. */
export function findTool(name: string): string {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/bin', '/bin', '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, name)).find((path) => path.startsWith('/') && existsSync(path)) ?? `/usr/bin/${name}`;
}

export type Command = readonly [program: string, ...args: string[]];

export function asCommand(words: readonly string[]): Command {
  const [program, ...args] = words;
  return [program ?? process.execPath, ...args];
}

/** Runs a command that must exit with `expected` (default `WORKED`); resolves with an error description, or with undefined if it did. */
export function tryOut(words: readonly string[], expected = WORKED, limitMs = TRIAL_MS): Promise<string | undefined> {
  const [program, ...args] = asCommand(words);
  return new Promise((resolve) => {
    execFile(program, args, { timeout: limitMs, killSignal: 'SIGKILL', env: {}, cwd: '/' }, (error, _stdout, stderr) => {
      if (error === null) return resolve('it does not run its command');
      if (error.code === expected) return resolve(undefined);
      if (error.killed) return resolve(`it did not end within ${limitMs / 1_000} s`);
      resolve(stderr.split('\n')[0]?.slice(0, MAX_REASON_CHARS) || 'it fails');
    });
  });
}
