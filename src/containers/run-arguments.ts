import { posix } from 'node:path';
import { type ContainerSpec, invalid, MIN_PIDS } from './container-spec.js';
import type { EngineFacts } from './engine-facts.js';

/** What the engine adds to a spec. */
export interface RunIdentity {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `uid:gid` inside the container; absent for a trusted image, which runs with the engine's own defaults. */
  readonly user?: string;
  /** File of variables, one per line. */
  readonly envFile: string;
  /** Volumes of the image, which are covered so that they cannot fill the disk. */
  readonly volumes: readonly string[];
  /** The user that a trusted image specifies; empty for root. */
  readonly imageUser?: string;
}

const OPEN_FILES = 16_384;
const SHM_MB = 16;
/** A browser shares memory with its pages there: with the engines' default of 64 MiB tabs crash. It counts as the container's memory. */
const TRUSTED_SHM_MB = 1_024;
/**
 * What an entrypoint that starts as root needs to give folders to an ordinary user, become that user, and kill it. The effect of all of
 * these ends at the container's own files and processes. Anything that reaches further is missing: raw sockets, devices, mounts, chroot,
 * audit, file capabilities.
 */
const ROOT_CAPABILITIES = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'KILL', 'SETGID', 'SETUID'];

/**
 * Returns the command line of one container, for an image that was pulled before. It runs attached: its output and its exit code are the
 * command's own.
 */
export function runArguments(facts: EngineFacts, spec: ContainerSpec, identity: RunIdentity): string[] {
  const podman = facts.kind === 'podman';
  const args = ['run', '--name', identity.name, '--pull=never', '--env-file', identity.envFile, '--hostname', 'job', '--no-healthcheck'];
  for (const [name, value] of Object.entries({ ...spec.labels, ...identity.labels })) args.push('--label', `${name}=${value}`);
  if (facts.init) args.push('--init');
  const { user } = identity;
  args.push(...limits(facts, spec, user === undefined));
  // No privileges from set-uid programs, no capabilities: the minimum that the engine supports.
  args.push('--cap-drop=ALL', '--security-opt=no-new-privileges');
  if (user === undefined) {
    // Podman would pass them to an ordinary user, too.
    if (isRoot(identity.imageUser ?? '')) args.push(...ROOT_CAPABILITIES.map((name) => `--cap-add=${name}`));
  } else {
    args.push('--read-only', '--user', user);
    if (podman && facts.rootless) args.push('--userns=keep-id');
    if (podman) args.push('--read-only-tmpfs=false');
  }
  for (const folder of memoryFolders(spec, identity)) args.push(...memoryFolder(podman, folder, spec.tmpMb, user));
  // We receive the output already; a copy in the engine's log would only fill the disk.
  args.push('--log-driver=none');
  args.push('--stop-timeout', String(Math.ceil((spec.stopGraceMs ?? 10_000) / 1_000)));
  for (const { source, target, writable } of [...(spec.mounts ?? []), ...spec.egress.mounts])
    args.push('--mount', `type=bind,source=${source},target=${target}${writable ? '' : podman ? ',ro=true' : ',readonly'}`);
  args.push(...spec.egress.runArguments);
  if (spec.workdir !== undefined) args.push('--workdir', spec.workdir);
  if (spec.entrypoint !== undefined) args.push('--entrypoint', spec.entrypoint);
  // Nothing after the image is parsed as an option.
  return [...args, spec.image, ...(spec.command ?? [])];
}

/** `imageUser` as in the image: a name or number, optionally with a group. */
function isRoot(imageUser: string): boolean {
  return ['', '0', 'root'].includes(imageUser.split(':')[0] ?? '');
}

/** Returns /tmp if the root is read-only, and the volumes of the image that nothing else is mounted on. */
function memoryFolders(spec: ContainerSpec, { user, volumes }: RunIdentity): readonly string[] {
  const mounted = new Set([...(spec.mounts ?? []), ...spec.egress.mounts].map(({ target }) => posix.normalize(target)));
  const folders = new Set([...(user === undefined ? [] : ['/tmp']), ...volumes.map((volume) => posix.resolve('/', volume))]);
  for (const folder of folders)
    if (/[:,]/.test(folder) || folder === '/') throw invalid(`the image has the volume ${JSON.stringify(folder)}`);
  return [...folders].filter((folder) => !mounted.has(folder));
}

/**
 * runc uses the mode of the image's own folder, or of a new one. Only the owner is certain to have access, so that must be the
 * container's user.
 */
function memoryFolder(podman: boolean, folder: string, sizeMb: number, user: string | undefined): readonly string[] {
  // A trusted image decides on the owner and contents of the folder.
  if (user === undefined)
    return podman
      ? ['--mount', `type=tmpfs,destination=${folder},tmpfs-size=${sizeMb}m`]
      : ['--tmpfs', `${folder}:rw,exec,nosuid,nodev,size=${sizeMb}m,mode=1777`];
  if (podman) return ['--mount', `type=tmpfs,destination=${folder},tmpfs-size=${sizeMb}m,tmpfs-mode=1777,notmpcopyup,U=true`];
  const [uid, gid] = user.split(':');
  return ['--tmpfs', `${folder}:rw,nosuid,nodev,size=${sizeMb}m,mode=1777,uid=${uid},gid=${gid}`];
}

function limits(facts: EngineFacts, spec: ContainerSpec, trusted: boolean): string[] {
  const args: string[] = [];
  // Docker would ignore limits that it does not support, podman would fail to start the container.
  if (facts.limits.includes('memory')) args.push(`--memory=${spec.memoryMb}m`, `--memory-swap=${spec.memoryMb}m`);
  if (facts.limits.includes('cpu')) args.push(`--cpus=${Math.min(spec.cpus, facts.cpus)}`);
  if (facts.limits.includes('pids')) args.push(`--pids-limit=${Math.max(MIN_PIDS, spec.pids)}`);
  const shmMb = Math.min(trusted ? TRUSTED_SHM_MB : SHM_MB, spec.memoryMb);
  args.push('--ulimit', `nofile=${OPEN_FILES}:${OPEN_FILES}`, '--ulimit', 'core=0:0', `--shm-size=${shmMb}m`);
  // Podman would raise it to a value of its own, which it may not do without CAP_SYS_RESOURCE.
  if (facts.kind === 'podman') args.push('--ulimit', 'nproc=4096:4096');
  if (spec.maxFileBytes !== undefined) args.push('--ulimit', `fsize=${spec.maxFileBytes}:${spec.maxFileBytes}`);
  return args;
}
