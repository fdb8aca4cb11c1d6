import { execFile } from 'node:child_process';
import { join } from 'node:path';

const ASK_MS = 30_000;
const asked = new Map<string, Promise<string>>();

/** The registry of an npm whose settings name none, as that npm says itself. Asked once a process: it takes npm a quarter of a second. */
export function defaultRegistry(npmFolder: string): Promise<string> {
  let answer = asked.get(npmFolder);
  if (answer === undefined) {
    answer = ask(npmFolder);
    asked.set(npmFolder, answer);
    answer.catch(() => asked.delete(npmFolder));
  }
  return answer;
}

function ask(npmFolder: string): Promise<string> {
  // No settings at all: neither variables nor files, and two names, since npm does not read one file twice.
  const none = ['user', 'global'].map((kind) => `--${kind}config=${join(npmFolder, `no-${kind}-settings`)}`);
  const args = [join(npmFolder, 'bin', 'npm-cli.js'), 'config', 'get', 'registry', ...none];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { cwd: npmFolder, env: {}, timeout: ASK_MS, windowsHide: true }, (error, stdout) => {
      const registry = stdout.trim();
      if (error === null && URL.canParse(registry)) resolve(registry);
      else reject(error ?? new Error('npm names no registry'));
    });
  });
}
