import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdtemp, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { removeFolder } from './remove-folder.js';

/** A user id without an account on any machine. */
const ORDINARY = 61_999;

/** The users that a test can run as: both kinds if it runs as root. */
export const users: readonly ('root' | 'ordinary')[] = process.getuid?.() === 0 ? ['root', 'ordinary'] : ['ordinary'];

/**
 * Runs one of our programs as such a user. Its last argument is a temporary folder of that user, which is also its TMPDIR. Resolves
 * with its output.
 */
export async function runAs(t: Test, user: 'root' | 'ordinary', program: string, args: readonly string[]): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'peerwork-user-')));
  t.teardown(() => removeFolder(folder));
  const words = [process.execPath, program, ...args, folder];
  if (user === 'ordinary' && process.getuid?.() === 0) {
    await chown(folder, ORDINARY, ORDINARY);
    words.unshift('setpriv', '--reuid', String(ORDINARY), '--regid', String(ORDINARY), '--clear-groups', '--');
  }
  const child = spawn(words[0] ?? '', words.slice(1), {
    cwd: '/',
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout.on('data', (chunk) => {
    said += chunk;
  });
  const [code] = await once(child, 'close');
  t.equal(code, 0, `the program ends well as ${user}`);
  return said;
}
