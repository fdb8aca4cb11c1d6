import { PeerworkError } from '../errors.js';

/** Specification of a container. Everything that it does not grant is forbidden. */
export interface ContainerSpec {
  /** The job it belongs to, for its label. */
  readonly job: string;
  readonly image: string;
  /** Absent for the image's own. The first word replaces the image's entrypoint only if `entrypoint` is set. */
  readonly command?: readonly string[];
  readonly entrypoint?: string;
  readonly workdir?: string;
  /** Passed in a file that only this user can read, never on a command line. Values must not contain line breaks. */
  readonly env?: Readonly<Record<string, string>>;
  readonly mounts?: readonly Mount[];
  readonly memoryMb: number;
  readonly cpus: number;
  /** Limit on processes and threads, at least `MIN_PIDS`. */
  readonly pids: number;
  /** Size of /tmp, which counts as the container's memory. */
  readonly tmpMb: number;
  /** The largest single file that it may write, in bytes. */
  readonly maxFileBytes?: number;
  /** Its access to the network. */
  readonly egress: NetworkAccess;
  readonly labels?: Readonly<Record<string, string>>;
  /** Time between the request to stop and the kill. */
  readonly stopGraceMs?: number;
}

/** What a container is given for access to the network. */
export interface NetworkAccess {
  readonly runArguments: readonly string[];
  readonly mounts: readonly Mount[];
  readonly env: Readonly<Record<string, string>>;
}

export interface Mount {
  /** Absolute path on this machine. */
  readonly source: string;
  /** Absolute path in the container. */
  readonly target: string;
  readonly writable?: boolean;
}

/** With fewer processes Node hangs instead of failing; lower requests are raised to this. */
export const MIN_PIDS = 64;
const MIN_MEMORY_MB = 6;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_.-]*$/;
/** A line of an env file is limited to 64 KiB. */
const MAX_ENV_BYTES = 60_000;
const LABEL_NAME = /^[a-z0-9][a-z0-9._/-]*$/i;
/** Labels that identify the owner of a container. */
const OWN_LABEL = /^peerwork\./;

/** Throws `container-invalid` for anything that the engine's command line would misread, or that would reach further than intended. */
export function checkSpec(spec: ContainerSpec): void {
  const words = [spec.image, ...(spec.command ?? []), spec.entrypoint ?? '', spec.workdir ?? ''];
  if (words.some((word) => word.includes('\0'))) throw invalid('a word of the command holds a NUL character');
  checkImageName(spec.image);
  if (spec.workdir !== undefined && !spec.workdir.startsWith('/')) throw invalid('workdir is not an absolute path');
  for (const [name, value] of Object.entries(spec.env ?? {})) {
    if (!ENV_NAME.test(name)) throw invalid(`${JSON.stringify(name.slice(0, 60))} cannot be the name of a variable`);
    if (/[\r\n\0]/.test(value)) throw invalid(`the value of ${name} has a line break; put it into the input instead`);
    if (Buffer.byteLength(value) > MAX_ENV_BYTES) throw invalid(`the value of ${name} is too long; put it into the input instead`);
  }
  for (const [name, value] of Object.entries(spec.labels ?? {})) {
    if (!LABEL_NAME.test(name) || OWN_LABEL.test(name) || /[\r\n\0]/.test(value)) throw invalid(`the label ${JSON.stringify(name)}`);
  }
  for (const { source, target } of spec.mounts ?? []) {
    if (/[,\r\n\0"]/.test(source + target)) throw invalid(`a mounted path has a comma, a quote or a line break: ${JSON.stringify(target)}`);
    if (!target.startsWith('/') || target.split('/').includes('..')) throw invalid(`the mount target ${JSON.stringify(target)}`);
    if (source.endsWith('docker.sock') || source.endsWith('podman.sock')) throw invalid('the socket of the engine is never mounted');
  }
  if (!(spec.memoryMb >= MIN_MEMORY_MB)) throw invalid(`memory of less than ${MIN_MEMORY_MB} MiB`);
  if (!(spec.cpus > 0)) throw invalid('cpus is not more than 0');
}

/** As in the distribution specification; above all, a name must not begin like an option. */
const IMAGE = /^[a-z0-9][a-z0-9._-]*(?::\d+)?(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/;
const IMAGE_ID = /^sha256:[0-9a-f]{64}$/;
const MAX_IMAGE_CHARS = 400;

export function checkImageName(image: string): void {
  if (image.length > MAX_IMAGE_CHARS || !(IMAGE.test(image) || IMAGE_ID.test(image)))
    throw invalid(`${JSON.stringify(image.slice(0, 80))} is not the name of an image`);
}

export function invalid(detail: string): PeerworkError {
  return new PeerworkError('container-invalid', detail);
}
