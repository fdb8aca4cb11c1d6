import { hostNames } from '../egress/reach.js';

export const engineKinds = ['docker', 'podman'] as const;
export type EngineKind = (typeof engineKinds)[number];

/** Limits that containers should get, in the kernel's terms. */
export const limitKinds = ['memory', 'cpu', 'pids'] as const;
export type LimitKind = (typeof limitKinds)[number];

/** What an engine is and supports. */
export interface EngineFacts {
  readonly kind: EngineKind;
  readonly version: string;
  /** Of the engine, which may run on another machine; in Node's terms: `linux`, `x64`. */
  readonly os: string;
  readonly arch: string;
  readonly rootless: boolean;
  readonly cgroupVersion: 1 | 2;
  readonly cpus: number;
  /** Memory of the machine that the containers run on, in MiB. */
  readonly memoryMb: number;
  /**
   * Limits that it can enforce: memory may be disabled in a Raspberry Pi's kernel, and controllers may not be delegated to a rootless
   * engine.
   */
  readonly limits: readonly LimitKind[];
  /**
   * Whether containers may have an init process at PID 1 that reaps children and forwards signals. Docker ships one, podman needs a
   * package (catatonit).
   */
  readonly init: boolean;
  /** Whether the engine runs on this very machine and kernel: its bridges are our interfaces, and our sockets can be mounted. */
  readonly local: boolean;
}

/** Returns arguments between the program and the command, which podman needs on some machines. */
export function globalArguments(facts: EngineFacts): string[] {
  if (facts.kind !== 'podman') return [];
  // Its warnings would appear among the job's output. Without systemd there is no other manager, and with cgroup v1 it is the one that
  // works everywhere.
  return ['--log-level=error', ...(facts.cgroupVersion === 1 && !facts.rootless ? ['--cgroup-manager=cgroupfs'] : [])];
}

/** Returns the name by which containers reach this machine. Podman supports `host-gateway` only since 4.7, its own name always. */
export function hostName(facts: EngineFacts): string {
  return hostNames[facts.kind];
}

const LOOPBACK = /^(?:localhost|.*\.localhost|127(?:\.\d{1,3}){3}|\[::1\]|0\.0\.0\.0)$/i;

/**
 * Rewrites an address for use in a container: this machine's own loopback becomes `host`, such as `host.docker.internal`, and the rest of
 * the URL is unchanged. Other addresses and invalid URLs are returned as they are.
 */
export function rewriteLocalhost(url: string, host: string): string {
  if (!URL.canParse(url)) return url;
  const { hostname } = new URL(url);
  if (!LOOPBACK.test(hostname)) return url;
  // Not through URL, which would add slashes and escape passwords again.
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/(?:[^/?#]*@)?)(\[[^\]]*\]|[^:/?#]*)/i, (_all, before: string) => `${before}${host}`);
}
