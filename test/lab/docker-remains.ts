import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { podmanEnvironment } from './podman.js';

/** Names of docker labs begin with this and the pid of their process. */
export const namePrefix = 'pwdock';
export const namespaceFolder = '/run/netns';

/** Stops and removes everything of a docker lab. Synchronous, so that it works during exit as well. */
export function removeLab(namespace: string): void {
  const folder = join(tmpdir(), namespace);
  // Podman's containers have no parent process: only podman itself can find them.
  if (existsSync(join(folder, 'containers.conf'))) quietly('podman', ['rm', '-f', '-a'], podmanEnvironment(folder));
  // The engine goes first, otherwise it would restart what it sees ending.
  for (let round = 0; round < 20; round += 1) {
    const pids = [...namespacesOf(namespace).flatMap(processesIn), ...processesOfContainers(namespace)];
    if (pids.length === 0) break;
    for (const pid of pids) kill(pid);
    quietly('sleep', ['0.05']);
  }
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${folder}/`));
  for (const mount of mounts.reverse()) quietly('umount', ['-l', mount]);
  removeCgroups(namespace);
  for (const name of namespacesOf(namespace)) quietly('ip', ['netns', 'delete', name]);
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}

/** The namespaces of the engine and of the other machines. */
function namespacesOf(namespace: string): string[] {
  if (!existsSync(namespaceFolder)) return [];
  return readdirSync(namespaceFolder).filter((name) => name === namespace || name.startsWith(`${namespace}-m`));
}

function processesIn(namespace: string): number[] {
  return numbers(quietly('ip', ['netns', 'pids', namespace])).filter((pid) => pid !== process.pid);
}

function processesOfContainers(namespace: string): number[] {
  return cgroupFolders(namespace).flatMap((folder) => {
    try {
      return numbers(readFileSync(join(folder, 'cgroup.procs'), 'utf8'));
    } catch {
      return [];
    }
  });
}

/** Returns the lab's cgroups, deepest first. cgroup v1 has one tree per controller, v2 a single one. */
function cgroupFolders(namespace: string): string[] {
  const root = '/sys/fs/cgroup';
  if (!existsSync(root)) return [];
  const tops = [
    root,
    ...readdirSync(root, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [join(root, entry.name)] : [])),
  ];
  return tops
    .map((top) => join(top, namespace))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => [
      ...readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => join(entry.parentPath, entry.name))
        .sort((a, b) => b.length - a.length),
      folder,
    ]);
}

function removeCgroups(namespace: string): void {
  for (const folder of cgroupFolders(namespace)) {
    try {
      rmdirSync(folder);
    } catch {
      // The last process is still leaving it: it is empty, and the next lab tries again.
    }
  }
}

function numbers(text: string): number[] {
  return text.split('\n').filter(Boolean).map(Number);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

function quietly(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, ...env } });
  } catch {
    return '';
  }
}

/** Removes labs of killed processes. */
export function removeOrphans(): void {
  const names = [tmpdir(), namespaceFolder].flatMap((folder) => (existsSync(folder) ? readdirSync(folder) : []));
  for (const name of new Set(names)) {
    const pid = new RegExp(`^${namePrefix}-(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || /-m\d+$/.test(name)) continue;
    try {
      process.kill(Number(pid), 0);
    } catch {
      removeLab(name);
    }
  }
}
