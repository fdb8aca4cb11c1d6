import { userInfo } from 'node:os';
import { type FoundEngine, findEngine, findProgram } from '../../../containers/find-engine.js';
import { asPeerworkError } from '../../../errors.js';
import type { Check } from '../../../job/health.js';
import { runTool } from '../../../kit/run-tool.js';
import { isAttended, unlessLeft } from '../../../kit/terminal.js';
import { installCommand, type PackageNames } from '../../../sandbox/remedy.js';

export interface EngineWish {
  readonly engine: 'auto' | 'docker' | 'podman';
  /** Install without asking. */
  readonly yes: boolean;
  /** Install nothing. */
  readonly noInstall: boolean;
}

/** Where docker itself is no package of the system, podman is, which does as well. */
const PACKAGES: PackageNames = {
  other: 'docker',
  debian: 'docker.io',
  fedora: 'moby-engine',
  gentoo: 'app-containers/docker',
  ...Object.fromEntries(['rhel', 'centos', 'rocky', 'almalinux', 'ol'].map((id) => [id, 'podman'])),
  amzn: 'docker',
};
const INSTALL_MS = 15 * 60_000;

/**
 * The first step of a set-up: a container engine. Where there is none and packages come by apt, it is installed: on a terminal after a question,
 * else because the command says so. Everywhere else the package is named. Never rejects.
 */
export async function engineStep(wish: EngineWish, say: (line: string) => void): Promise<{ check: Check; engine?: FoundEngine }> {
  const found = await find(wish);
  if (!('error' in found)) return said(found);
  const kinds = wish.engine === 'auto' ? (['docker', 'podman'] as const) : [wish.engine];
  if (kinds.some((kind) => findProgram(kind, process.env) !== undefined)) return awake(wish, found.error.message);
  const refused = (detail: string) => ({ check: { name: 'docker', state: 'fail', detail, hint: howToInstall(wish) } as const });
  if (wish.engine === 'podman' || process.platform !== 'linux' || findProgram('apt-get', process.env) === undefined)
    return refused(found.error.message);
  if (wish.noInstall) return refused('it is not installed, and `--no-install` was given');
  const packaged = PACKAGES['debian'] ?? '';
  if (!wish.yes && isAttended() && !(await askWhether(packaged))) return refused('it is not installed');
  say(`installing ${packaged} by apt-get`);
  const why = await installByApt(packaged);
  if (why !== undefined) return refused(`${packaged} could not be installed: ${why}`);
  return awake(wish, 'it was installed, but does not respond');
}

async function find({ engine }: EngineWish): Promise<FoundEngine | { readonly error: Error }> {
  try {
    return await findEngine(engine, process.env);
  } catch (thrown) {
    return { error: asPeerworkError(thrown) };
  }
}

function said(engine: FoundEngine): { check: Check; engine: FoundEngine } {
  const { kind, version, rootless } = engine.facts;
  return { check: { name: 'docker', state: 'ok', detail: `${kind} ${version}${rootless ? ', without root' : ''}` }, engine };
}

/** An engine that is installed and does not answer is started where we may do that. */
async function awake(wish: EngineWish, detail: string): Promise<{ check: Check; engine?: FoundEngine }> {
  const isRoot = process.getuid?.() === 0;
  if (isRoot && findProgram('docker', process.env) !== undefined && !wish.noInstall) {
    const started = await runTool('systemctl', ['enable', '--now', 'docker'], { timeoutMs: 60_000 });
    if (started.code !== 0) await runTool('service', ['docker', 'start'], { timeoutMs: 60_000 });
  }
  const found = await find(wish);
  if (!('error' in found)) return said(found);
  const sudo = isRoot ? '' : 'sudo ';
  const denied = /permission denied/i.test(found.error.message);
  const hint = denied
    ? `Run \`sudo usermod -aG docker ${userInfo().username}\`, log out and in again, and then set-up again.`
    : `Start it, by \`${sudo}systemctl enable --now docker\` or \`${sudo}service docker start\`, and then set-up again.`;
  return { check: { name: 'docker', state: 'fail', detail: `${detail}: ${found.error.message}`, hint } };
}

function howToInstall({ engine }: EngineWish): string {
  const then = 'and then set-up again';
  if (process.platform === 'darwin') return `Install Docker Desktop, by \`brew install --cask docker\`, start it, ${then}.`;
  if (process.platform !== 'linux') return `Install Docker Desktop, start it, ${then}.`;
  const names = engine === 'podman' ? { other: 'podman' } : PACKAGES;
  return `Install it, by \`${installCommand(names)}\`, ${then}.`;
}

async function askWhether(name: string): Promise<boolean> {
  const answer = await unlessLeft(async () => {
    const { default: inquirer } = await import('inquirer');
    const message = `docker is not installed. Install ${name} by apt-get?`;
    return inquirer.prompt<{ go: boolean }>([{ type: 'confirm', name: 'go', message, default: true }]);
  });
  return answer?.go === true;
}

/** undefined: it is installed. */
async function installByApt(name: string): Promise<string | undefined> {
  const { execa } = await import('execa');
  // sudo may ask for a password only where somebody can type it.
  const rights = process.getuid?.() === 0 ? [] : ['sudo', ...(isAttended() ? [] : ['-n'])];
  const apt = async (...args: readonly string[]) => {
    const [file = '', ...words] = [...rights, 'apt-get', ...args];
    const { exitCode, shortMessage } = await execa(file, words, {
      // stdout is for what the steps say.
      stdio: ['inherit', process.stderr, process.stderr],
      env: { DEBIAN_FRONTEND: 'noninteractive' },
      reject: false,
      timeout: INSTALL_MS,
    });
    return exitCode === 0 ? undefined : (shortMessage ?? `exit code ${exitCode}`);
  };
  const install = () => apt('install', '--yes', name);
  const first = await install();
  if (first === undefined) return undefined;
  // The lists of packages may be old, or not there at all.
  return (await apt('update')) ?? (await install());
}
