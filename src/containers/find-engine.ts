import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { totalmem } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { CommandLine, complaintOf } from './command-line.js';
import { type EngineFacts, type EngineKind, engineKinds, globalArguments, limitKinds } from './engine-facts.js';
import { engineInfo, readEngineJson } from './engine-json.js';

export interface FoundEngine {
  readonly facts: EngineFacts;
  readonly command: CommandLine;
}

/** A cold engine is slow on a busy machine. The Worker serves other jobs meanwhile: its runners join when they are ready. */
const PROBE_MS = 30_000;
const MAX_FACTS_CHARS = 4 * 1024 * 1024;
/** Where podman searches for its init process. */
const podmanInits = ['/usr/local/libexec', '/usr/local/lib', '/usr/libexec', '/usr/lib'].map((folder) => `${folder}/podman/catatonit`);

/**
 * Returns the engine to use: docker before podman, unless the owner chose one. Rejects with `engine-missing` and the error of each of
 * them.
 */
export async function findEngine(wish: EngineKind | 'auto', environment: NodeJS.ProcessEnv): Promise<FoundEngine> {
  const faults: string[] = [];
  for (const kind of wish === 'auto' ? engineKinds : [wish]) {
    const program = findProgram(kind, environment);
    if (program === undefined) {
      faults.push(`${kind} is not installed`);
      continue;
    }
    const command = new CommandLine(program, environment);
    const { stdout, stderr } = await queryFacts(command);
    const facts = readFacts(kind, stdout, environment);
    if (facts !== undefined) return { facts, command: new CommandLine(program, environment, globalArguments(facts)) };
    faults.push(`${kind}: ${complaintOf(stderr)}`);
  }
  throw new PeerworkError('engine-missing', faults.join('; '));
}

/** Without execa, which takes 17 MB: every worker looks for an engine, few ever run a container. */
function queryFacts({ program, environment }: CommandLine): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const options = { env: environment, timeout: PROBE_MS, killSignal: 'SIGKILL', maxBuffer: MAX_FACTS_CHARS } as const;
  return new Promise((resolve) => {
    execFile(program, ['info', '--format', '{{json .}}'], options, (error, stdout, stderr) =>
      resolve({ stdout, stderr: stderr || (error?.killed ? `no response within ${PROBE_MS / 1_000} s` : '') }),
    );
  });
}

export function findProgram(name: string, environment: NodeJS.ProcessEnv): string | undefined {
  const suffixes = process.platform === 'win32' ? ['.exe', ''] : [''];
  for (const folder of (environment['PATH'] ?? '').split(delimiter)) {
    if (!isAbsolute(folder)) continue;
    for (const suffix of suffixes) {
      const path = join(folder, name + suffix);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not here; try the next.
      }
    }
  }
  return undefined;
}

/** Parses `info --format '{{json .}}'`; returns undefined if no engine responded, whatever the exit code was. */
export function readFacts(kind: EngineKind, json: string, environment: NodeJS.ProcessEnv): EngineFacts | undefined {
  const info = readEngineJson(engineInfo, json);
  if (info === undefined) return undefined;
  if (info.host !== undefined) {
    const { host, version } = info;
    return {
      kind: 'podman',
      version: version?.Version ?? 'unknown',
      os: host.os ?? 'linux',
      arch: nodeArch(host.arch),
      rootless: host.security?.rootless ?? false,
      cgroupVersion: host.cgroupVersion === 'v1' ? 1 : 2,
      cpus: host.cpus ?? 1,
      memoryMb: mebibytes(host.memTotal),
      limits: limitKinds.filter((kind) => host.cgroupControllers?.includes(kind) ?? true),
      init: host.serviceIsRemote === true || podmanInits.some((path) => existsSync(path)),
      local: host.serviceIsRemote !== true && process.platform === 'linux',
    };
  }
  if (kind !== 'docker' || !info.ServerVersion) return undefined;
  return {
    kind,
    version: info.ServerVersion,
    os: info.OSType ?? 'linux',
    arch: nodeArch(info.Architecture),
    rootless: (info.SecurityOptions ?? []).some((option) => option.includes('rootless')),
    cgroupVersion: info.CgroupVersion === '1' ? 1 : 2,
    cpus: info.NCPU ?? 1,
    memoryMb: mebibytes(info.MemTotal),
    limits: limitKinds.filter((kind) => ({ memory: info.MemoryLimit, cpu: info.CpuCfsQuota, pids: info.PidsLimit })[kind] !== false),
    init: true,
    // Docker Desktop is a virtual machine even on Linux; an engine behind TCP or SSH may be anywhere.
    local:
      process.platform === 'linux' &&
      !/docker desktop/i.test(info.OperatingSystem ?? '') &&
      /^(?:default|rootless)?$/.test(info.ClientInfo?.Context ?? '') &&
      /^(?:unix:.*)?$/.test(environment['DOCKER_HOST'] ?? ''),
  };
}

/** Returns, in words, which limits cannot be enforced; empty if none is missing. */
export function missingLimits({ limits }: Pick<EngineFacts, 'limits'>): string {
  const words = { memory: 'memory', cpu: 'cores', pids: 'processes' };
  return limitKinds
    .filter((kind) => !limits.includes(kind))
    .map((kind) => words[kind])
    .join(', ');
}

function mebibytes(bytes = totalmem()): number {
  return Math.floor(bytes / (1024 * 1024));
}

function nodeArch(name: string | undefined): string {
  switch (name) {
    case 'x86_64':
    case 'amd64':
      return 'x64';
    case 'aarch64':
      return 'arm64';
    case 'armv7l':
      return 'arm';
    default:
      return name ?? process.arch;
  }
}
