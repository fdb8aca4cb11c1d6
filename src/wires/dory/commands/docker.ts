import { userInfo } from 'node:os';
import { type FoundEngine, findEngine, findProgram } from '../../../containers/find-engine.js';
import { asPeerworkError } from '../../../errors.js';
import type { Check } from '../../../job/health.js';
import { runTool } from '../../../kit/run-tool.js';
import { isAttended, unlessLeft } from '../../../kit/terminal.js';
import { installCommand, type PackageNames } from '../../../sandbox/remedy.js';

export interface EngineRequest {
  readonly engine: 'auto' | 'docker' | 'podman';
  /** Install without a prompt. */
  readonly yes: boolean;
  /** Never install anything. */
  readonly noInstall: boolean;
}

/** Distributions without a docker package have podman, which works as well. */
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
 * First step of the set-up: finds a container engine. If there is none and the system uses apt, it is installed: after a prompt on a
 * terminal, otherwise because the command implies it. On other systems the hint names the package. Never rejects.
 */
export async function engineStep(request: EngineRequest, print: (line: string) => void): Promise<{ check: Check; engine?: FoundEngine }> {
  const found = await find(request);
  if (!('error' in found)) return readyStep(found);
  const kinds = request.engine === 'auto' ? (['docker', 'podman'] as const) : [request.engine];
  if (kinds.some((kind) => findProgram(kind, process.env) !== undefined)) return startEngine(request, found.error.message);
  const failed = (detail: string) => ({ check: { name: 'docker', state: 'fail', detail, hint: howToInstall(request) } as const });
  if (request.engine === 'podman' || process.platform !== 'linux' || findProgram('apt-get', process.env) === undefined)
    return failed(found.error.message);
  if (request.noInstall) return failed('it is not installed, and `--no-install` was given');
  const packaged = PACKAGES['debian'] ?? '';
  if (!request.yes && isAttended() && !(await confirmInstall(packaged))) return failed('it is not installed');
  print(`installing ${packaged} by apt-get`);
  const why = await installByApt(packaged);
  if (why !== undefined) return failed(`${packaged} could not be installed: ${why}`);
  return startEngine(request, 'it was installed, but does not respond');
}

async function find({ engine }: EngineRequest): Promise<FoundEngine | { readonly error: Error }> {
  try {
    return await findEngine(engine, process.env);
  } catch (thrown) {
    return { error: asPeerworkError(thrown) };
  }
}

function readyStep(engine: FoundEngine): { check: Check; engine: FoundEngine } {
  const { kind, version, rootless } = engine.facts;
  return { check: { name: 'docker', state: 'ok', detail: `${kind} ${version}${rootless ? ', without root' : ''}` }, engine };
}

/** Starts an engine that is installed but not responding, if we have the permission. */
async function startEngine(request: EngineRequest, detail: string): Promise<{ check: Check; engine?: FoundEngine }> {
  const isRoot = process.getuid?.() === 0;
  if (isRoot && findProgram('docker', process.env) !== undefined && !request.noInstall) {
    const started = await runTool('systemctl', ['enable', '--now', 'docker'], { timeoutMs: 60_000 });
    if (started.code !== 0) await runTool('service', ['docker', 'start'], { timeoutMs: 60_000 });
  }
  const found = await find(request);
  if (!('error' in found)) return readyStep(found);
  const sudo = isRoot ? '' : 'sudo ';
  const denied = /permission denied/i.test(found.error.message);
  const hint = denied
    ? `Run \`sudo usermod -aG docker ${userInfo().username}\`, log out and in again, and then set-up again.`
    : `Start it, by \`${sudo}systemctl enable --now docker\` or \`${sudo}service docker start\`, and then set-up again.`;
  return { check: { name: 'docker', state: 'fail', detail: `${detail}: ${found.error.message}`, hint } };
}

function howToInstall({ engine }: EngineRequest): string {
  const then = 'and then set-up again';
  if (process.platform === 'darwin') return `Install Docker Desktop, by \`brew install --cask docker\`, start it, ${then}.`;
  if (process.platform !== 'linux') return `Install Docker Desktop, start it, ${then}.`;
  const names = engine === 'podman' ? { other: 'podman' } : PACKAGES;
  return `Install it, by \`${installCommand(names)}\`, ${then}.`;
}

async function confirmInstall(name: string): Promise<boolean> {
  const answer = await unlessLeft(async () => {
    const { default: inquirer } = await import('inquirer');
    const message = `docker is not installed. Install ${name} by apt-get?`;
    return inquirer.prompt<{ go: boolean }>([{ type: 'confirm', name: 'go', message, default: true }]);
  });
  return answer?.go === true;
}

/** Resolves with undefined on success, otherwise with the reason of the failure. */
async function installByApt(name: string): Promise<string | undefined> {
  const { execa } = await import('execa');
  // sudo may prompt for a password only on a terminal.
  const rights = process.getuid?.() === 0 ? [] : ['sudo', ...(isAttended() ? [] : ['-n'])];
  const apt = async (...args: readonly string[]) => {
    const [file = '', ...words] = [...rights, 'apt-get', ...args];
    const { exitCode, shortMessage } = await execa(file, words, {
      // stdout is reserved for the results of the steps.
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
  // The package lists may be outdated or missing.
  return (await apt('update')) ?? (await install());
}
