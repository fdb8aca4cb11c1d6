import { posix } from 'node:path';
import { type ContainerSpec, invalid, MIN_PIDS } from './container-spec.js';
import type { EngineFacts } from './engine-facts.js';

/** What the engine adds to a spec of its own. */
export interface RunIdentity {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `uid:gid` inside the container; absent: the image is trusted, and runs as it would with the engine alone. */
  readonly user?: string;
  /** Variables, one a line. */
  readonly envFile: string;
  /** Of the image: covered, so that they cannot fill the disk. */
  readonly volumes: readonly string[];
  /** Whom a trusted image names as its user; empty: root. */
  readonly imageUser?: string;
}

const OPEN_FILES = 16_384;
const SHM_MB = 16;
/** A browser's pages share memory with it there: with 64 MiB, which engines give, tabs crash. It counts as the container's memory. */
const TRUSTED_SHM_MB = 1_024;
/**
 * What an entrypoint that begins as root needs to give folders to an ordinary user, become that user, and end it. All of it ends at the container's own
 * files and processes. Not among them is what reaches further: raw sockets, devices, mounts, chroot, audit, giving capabilities to files.
 */
const ROOT_CAPABILITIES = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'KILL', 'SETGID', 'SETUID'];

/** The command line of one container, the image pulled before. Attached: its output and its exit code are the command's own. */
export function runArguments(facts: EngineFacts, spec: ContainerSpec, identity: RunIdentity): string[] {
  const podman = facts.kind === 'podman';
  const args = ['run', '--name', identity.name, '--pull=never', '--env-file', identity.envFile, '--hostname', 'job', '--no-healthcheck'];
  for (const [name, value] of Object.entries({ ...spec.labels, ...identity.labels })) args.push('--label', `${name}=${value}`);
  if (facts.init) args.push('--init');
  const { user } = identity;
  args.push(...limits(facts, spec, user === undefined));
  // Nothing gained by set-uid programs, no capability: as little as the engine can give.
  args.push('--cap-drop=ALL', '--security-opt=no-new-privileges');
  if (user === undefined) {
    // Podman would hand them to an ordinary user, too.
    if (isRoot(identity.imageUser ?? '')) args.push(...ROOT_CAPABILITIES.map((name) => `--cap-add=${name}`));
  } else {
    args.push('--read-only', '--user', user);
    if (podman && facts.rootless) args.push('--userns=keep-id');
    if (podman) args.push('--read-only-tmpfs=false');
  }
  for (const folder of memoryFolders(spec, identity)) args.push(...memoryFolder(podman, folder, spec.tmpMb, user));
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

/** As an image names its user: a name or number, and perhaps a group. */
function isRoot(imageUser: string): boolean {
  return ['', '0', 'root'].includes(imageUser.split(':')[0] ?? '');
}

/** /tmp where the root cannot be written to, and the volumes of the image that nothing else is mounted on. */
function memoryFolders(spec: ContainerSpec, { user, volumes }: RunIdentity): readonly string[] {
  const taken = new Set([...(spec.mounts ?? []), ...spec.egress.mounts].map(({ target }) => posix.normalize(target)));
  const folders = new Set([...(user === undefined ? [] : ['/tmp']), ...volumes.map((volume) => posix.resolve('/', volume))]);
  for (const folder of folders)
    if (/[:,]/.test(folder) || folder === '/') throw invalid(`the image has the volume ${JSON.stringify(folder)}`);
  return [...folders].filter((folder) => !taken.has(folder));
}

/** runc gives it the mode of the image's own folder, or of a new one: only its owner is certain, who must be the container's user. */
function memoryFolder(podman: boolean, folder: string, sizeMb: number, user: string | undefined): readonly string[] {
  // Whose it shall be is up to a trusted image: with what lies there in it.
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
  // Docker would drop what it cannot do, podman would not start the container.
  if (facts.limits.includes('memory')) args.push(`--memory=${spec.memoryMb}m`, `--memory-swap=${spec.memoryMb}m`);
  if (facts.limits.includes('cpu')) args.push(`--cpus=${Math.min(spec.cpus, facts.cpus)}`);
  if (facts.limits.includes('pids')) args.push(`--pids-limit=${Math.max(MIN_PIDS, spec.pids)}`);
  const shmMb = Math.min(trusted ? TRUSTED_SHM_MB : SHM_MB, spec.memoryMb);
  args.push('--ulimit', `nofile=${OPEN_FILES}:${OPEN_FILES}`, '--ulimit', 'core=0:0', `--shm-size=${shmMb}m`);
  // Podman would raise it to a value of its own, which it may not without CAP_SYS_RESOURCE.
  if (facts.kind === 'podman') args.push('--ulimit', 'nproc=4096:4096');
  if (spec.maxFileBytes !== undefined) args.push('--ulimit', `fsize=${spec.maxFileBytes}:${spec.maxFileBytes}`);
  return args;
}
