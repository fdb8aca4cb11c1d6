export const engineKinds = ['docker', 'podman'] as const;
export type EngineKind = (typeof engineKinds)[number];

/** What containers should be held to, in the kernel's words. */
export const limitKinds = ['memory', 'cpu', 'pids'] as const;
export type LimitKind = (typeof limitKinds)[number];

/** What an engine is and can do. */
export interface EngineFacts {
  readonly kind: EngineKind;
  readonly version: string;
  /** Of the engine, which may be another machine's than ours; as Node calls them: `linux`, `x64`. */
  readonly os: string;
  readonly arch: string;
  readonly rootless: boolean;
  readonly cgroupVersion: 1 | 2;
  readonly cpus: number;
  /** Of the machine that the containers run on, in MiB. */
  readonly memoryMb: number;
  /** Those it can hold containers to: a Raspberry Pi's kernel may have memory switched off, a rootless engine may have been given nothing. */
  readonly limits: readonly LimitKind[];
  /** Containers may have a process at PID 1 that reaps children and hands on signals. Docker brings one, podman takes a package (catatonit). */
  readonly init: boolean;
  /** The engine runs on this very machine and kernel: its bridges are our interfaces, and our sockets can be mounted. */
  readonly local: boolean;
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

const LOOPBACK = /^(?:localhost|.*\.localhost|127(?:\.\d{1,3}){3}|\[::1\]|0\.0\.0\.0)$/i;

/**
 * An address as a container has to write it: what is this machine's own loopback becomes `host`, such as `host.docker.internal`; the rest of
 * the URL stays letter for letter. Everything else, and what is no URL, is given back as it is.
 */
export function rewriteLocalhost(url: string, host: string): string {
  if (!URL.canParse(url)) return url;
  const { hostname } = new URL(url);
  if (!LOOPBACK.test(hostname)) return url;
  // Not through URL: it would add slashes and escape passwords anew.
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/(?:[^/?#]*@)?)(\[[^\]]*\]|[^:/?#]*)/i, (_all, before: string) => `${before}${host}`);
}
