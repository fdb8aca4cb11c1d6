import { posix } from 'node:path';
import { type ContainerSpec, invalid, MIN_PIDS } from './container-spec.js';
import type { EngineFacts } from './find-engine.js';

/** What the engine adds to a spec of its own. */
export interface RunIdentity {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `uid:gid` inside the container. */
  readonly user: string;
  /** Variables, one a line. */
  readonly envFile: string;
  /** Of the image: covered, so that they cannot fill the disk. */
  readonly volumes: readonly string[];
}

const OPEN_FILES = 16_384;
const SHM_MB = 16;

/** The command line of one container, the image pulled before. Attached: its output and its exit code are the command's own. */
export function runArguments(facts: EngineFacts, spec: ContainerSpec, identity: RunIdentity): string[] {
  const podman = facts.kind === 'podman';
  const args = ['run', '--name', identity.name, '--pull=never', '--env-file', identity.envFile, '--hostname', 'job', '--no-healthcheck'];
  for (const [name, value] of Object.entries({ ...spec.labels, ...identity.labels })) args.push('--label', `${name}=${value}`);
  if (facts.init) args.push('--init');
  args.push(...limits(facts, spec));
  // Read-only root, nothing gained by set-uid programs, no capability: as little as the engine can give.
  args.push('--read-only', '--cap-drop=ALL', '--security-opt=no-new-privileges', '--user', identity.user);
  if (podman && facts.rootless) args.push('--userns=keep-id');
  if (podman) args.push('--read-only-tmpfs=false');
  for (const folder of memoryFolders(spec, identity.volumes)) args.push(...memoryFolder(podman, folder, spec.tmpMb, identity.user));
  // What it prints is ours already; a copy in the engine's log would only fill the disk.
  args.push('--log-driver=none');
  args.push('--stop-timeout', String(Math.ceil((spec.stopGraceMs ?? 10_000) / 1_000)));
  for (const { source, target, writable } of [...(spec.mounts ?? []), ...spec.egress.mounts])
    args.push('--mount', `type=bind,source=${source},target=${target}${writable ? '' : podman ? ',ro=true' : ',readonly'}`);
  args.push(...spec.egress.runArguments);
  if (spec.workdir !== undefined) args.push('--workdir', spec.workdir);
  if (spec.entrypoint !== undefined) args.push('--entrypoint', spec.entrypoint);
  // Nothing after the image is read as an option.
  return [...args, spec.image, ...(spec.command ?? [])];
}

/** /tmp, and the volumes of the image that nothing else is mounted on. */
function memoryFolders(spec: ContainerSpec, volumes: readonly string[]): readonly string[] {
  const taken = new Set([...(spec.mounts ?? []), ...spec.egress.mounts].map(({ target }) => posix.normalize(target)));
  const folders = new Set(['/tmp', ...volumes.map((volume) => posix.resolve('/', volume))]);
  for (const folder of folders)
    if (/[:,]/.test(folder) || folder === '/') throw invalid(`the image has the volume ${JSON.stringify(folder)}`);
  return [...folders].filter((folder) => !taken.has(folder));
}

/** runc gives it the mode of the image's own folder, or of a new one: only its owner is certain, who must be the container's user. */
function memoryFolder(podman: boolean, folder: string, sizeMb: number, user: string): readonly string[] {
  if (podman) return ['--mount', `type=tmpfs,destination=${folder},tmpfs-size=${sizeMb}m,tmpfs-mode=1777,notmpcopyup,U=true`];
  const [uid, gid] = user.split(':');
  return ['--tmpfs', `${folder}:rw,nosuid,nodev,size=${sizeMb}m,mode=1777,uid=${uid},gid=${gid}`];
}

function limits(facts: EngineFacts, spec: ContainerSpec): string[] {
  const args: string[] = [];
  // Docker would drop what it cannot do, podman would not start the container.
  if (facts.limits.includes('memory')) args.push(`--memory=${spec.memoryMb}m`, `--memory-swap=${spec.memoryMb}m`);
  if (facts.limits.includes('cpu')) args.push(`--cpus=${Math.min(spec.cpus, facts.cpus)}`);
  if (facts.limits.includes('pids')) args.push(`--pids-limit=${Math.max(MIN_PIDS, spec.pids)}`);
  args.push('--ulimit', `nofile=${OPEN_FILES}:${OPEN_FILES}`, '--ulimit', 'core=0:0', `--shm-size=${Math.min(SHM_MB, spec.memoryMb)}m`);
  // Podman would raise it to a value of its own, which it may not without CAP_SYS_RESOURCE.
  if (facts.kind === 'podman') args.push('--ulimit', 'nproc=4096:4096');
  if (spec.maxFileBytes !== undefined) args.push('--ulimit', `fsize=${spec.maxFileBytes}:${spec.maxFileBytes}`);
  return args;
}

/** Words between the program and the command, which podman needs on some machines. */
export function globalArguments(facts: EngineFacts): string[] {
  if (facts.kind !== 'podman') return [];
  // Its warnings would stand among what the job prints. Without systemd there is no other manager, and with cgroup v1 it is the one that works everywhere.
  return ['--log-level=error', ...(facts.cgroupVersion === 1 && !facts.rootless ? ['--cgroup-manager=cgroupfs'] : [])];
}

/** The name by which containers reach this machine. Podman knows `host-gateway` only since 4.7, its own name always. */
export function hostName(facts: EngineFacts): string {
  return facts.kind === 'podman' ? 'host.containers.internal' : 'host.docker.internal';
}
