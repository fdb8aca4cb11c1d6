import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, realpath, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Clock } from '../clock.js';
import type { PublicInternet } from '../egress/addresses.js';
import { effectivePolicy, type NetworkCeiling, type NetworkWish } from '../egress/policy.js';
import { PeerworkError } from '../errors.js';
import type { Tunnel } from '../job/source.js';
import { clearAway } from '../kit/clearing.js';
import { printable } from '../kit/printable.js';
import type { Log } from '../log.js';
import { Container } from './container.js';
import { type ContainerSpec, checkSpec } from './container-spec.js';
import { type Egress, openEgress } from './egress/egress.js';
import { Firewall } from './egress/firewall.js';
import type { EngineFacts, EngineKind } from './engine-facts.js';
import { type FoundEngine, findEngine, missingLimits } from './find-engine.js';
import { isTrustedImage } from './image-names.js';
import { Images, type PullPolicy } from './images.js';
import { Leash } from './leash.js';
import type { OnLine } from './output-lines.js';
import { Removal } from './removal.js';
import { type RunIdentity, runArguments } from './run-arguments.js';
import { seesLayers } from './writable-layer.js';

/** The most that the owner of a worker allows containers. */
export interface ContainerCeilings {
  readonly memoryMb: number;
  /** Memory limit of a container whose job requests none. */
  readonly defaultMemoryMb: number;
  readonly cpus: number;
  readonly pids: number;
  /** Disk space that one job may use, in MiB. */
  readonly diskMb: number;
  readonly network: NetworkCeiling;
  /** Containers that cannot be filtered may use the whole network, the owner's own included. */
  readonly unfiltered: boolean;
}

export interface ContainerEngineOptions {
  readonly engine: EngineKind | 'auto';
  /** Name of the worker, for a label. */
  readonly worker: string;
  /** A folder used by this engine alone; with the same folder the next start finds what was left behind. */
  readonly folder: string;
  /** `memoryMb` undefined: what the engine's machine can spare. */
  readonly ceilings: Omit<ContainerCeilings, 'memoryMb'> & { readonly memoryMb: number | undefined };
  readonly allowedImages?: readonly string[];
  /** Images that run with the engine's own defaults, except for network and privileges: see `isTrustedImage`. Default none. */
  readonly trustedImages?: readonly string[];
  readonly pull: PullPolicy;
  readonly pullTimeoutMs: number;
  readonly imageQuotaMb: number;
  readonly clock: Clock;
  readonly log: Log;
  /** The environment in which programs and the engine are found; default `process.env`. */
  readonly environment?: NodeJS.ProcessEnv;
  /** What counts as public internet; default: every address that is neither special-purpose nor in this machine's own networks. */
  readonly internet?: PublicInternet;
}

export interface JobEgress {
  readonly job: string;
  readonly imageLabels: Readonly<Record<string, string>>;
  readonly network: NetworkWish;
  /**
   * `host:port` pairs from a source to which the owner has connected this worker; their addresses may be anywhere, `host.docker.internal`
   * is this machine.
   */
  readonly trusted?: readonly string[];
  readonly tunnel?: Tunnel;
  readonly onRefused?: (target: string, reason: string) => void;
}

const UNPRIVILEGED = '1000:1000';
const MAX_LABEL_CHARS = 200;
/**
 * Share of the machine's memory that one container may use if the owner sets no limit: the rest is for the system, the engine and the
 * worker.
 */
const MEMORY_SHARE = 0.75;

/**
 * Docker or podman, as one worker uses it: its images, its containers, and what they may reach. Opened once; `close` leaves nothing
 * behind, and `open` removes what an earlier process of the same worker left.
 */
export class ContainerEngine {
  readonly facts: EngineFacts;
  readonly images: Images;
  readonly ceilings: ContainerCeilings;
  /** `uid:gid` that containers run as: this user if files have to be shared with it, else an unprivileged one. */
  readonly user: string;
  readonly #options: ContainerEngineOptions;
  readonly #engine: FoundEngine;
  readonly #worker: string;
  readonly #folder: string;
  readonly #leash: Leash;
  readonly #containers = new Set<Container>();
  readonly #removal: Removal;
  readonly #removals = new Set<Promise<void>>();
  #firewall: Promise<Firewall | string> | undefined;
  #used = false;
  #closed = false;

  private constructor(options: ContainerEngineOptions, engine: FoundEngine, images: Images, worker: string, folder: string) {
    this.facts = engine.facts;
    this.images = images;
    const { ceilings } = options;
    const memoryMb = ceilings.memoryMb ?? Math.max(Math.floor(engine.facts.memoryMb * MEMORY_SHARE), ceilings.defaultMemoryMb);
    this.ceilings = { ...ceilings, memoryMb, cpus: Math.min(ceilings.cpus, engine.facts.cpus) };
    this.user = userFor(engine.facts);
    this.#options = options;
    this.#engine = engine;
    this.#worker = worker;
    this.#folder = folder;
    this.#removal = new Removal(engine.command, options.clock);
    this.#leash = new Leash(engine.command, worker);
  }

  /** Rejects with `engine-missing`. */
  static async open(options: ContainerEngineOptions): Promise<ContainerEngine> {
    const engine = await findEngine(options.engine, options.environment ?? process.env);
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    const folder = await realpath(options.folder);
    const images = await Images.open({
      command: engine.command,
      folder,
      pull: options.pull,
      pullTimeoutMs: options.pullTimeoutMs,
      quotaBytes: options.imageQuotaMb * 1024 * 1024,
      clock: options.clock,
      ...(options.allowedImages !== undefined && { allowed: options.allowedImages }),
    });
    // Stable over restarts and unique among live workers, because the worker that uses the folder holds a lock on it.
    const worker = createHash('sha256').update(folder).digest('hex').slice(0, 12);
    const opened = new ContainerEngine(options, engine, images, worker, folder);
    const missing = missingLimits(engine.facts);
    if (missing !== '')
      options.log.warn('containers cannot be held to all limits here', {
        missing,
        hint: 'Enable the limits as described in docs/containers.md: cgroup v2, `Delegate=yes`, or the boot option `cgroup_enable=memory`.',
      });
    await opened.#sweep();
    return opened;
  }

  /** One line about what isolates containers from the rest of the machine. */
  get isolation(): string {
    const { kind, version, rootless } = this.facts;
    const missing = missingLimits(this.facts);
    const limits = missing === '' ? `limits, ${this.ceilings.memoryMb} MiB a job at most` : `no limit of ${missing}`;
    const trusted = (this.#options.trustedImages ?? []).length === 0 ? '' : ' (trusted images as they are)';
    return `${kind} ${version}${rootless ? ' (rootless)' : ''}: no capabilities, read-only root${trusted}, ${limits}`;
  }

  /** Prepares network access for the containers of one job, never more than the owner allows. Rejects with `egress-unavailable`. */
  async openEgress(wish: JobEgress): Promise<Egress> {
    await this.#mark();
    const { network, unfiltered } = this.ceilings;
    const { imageLabels, tunnel, onRefused } = wish;
    return openEgress(
      {
        policy: effectivePolicy(wish.network, network, wish.trusted),
        imageLabels,
        labels: this.#labels(wish.job),
        ...(tunnel !== undefined && { tunnel }),
        ...(onRefused !== undefined && { onRefused }),
      },
      {
        facts: this.facts,
        unfiltered,
        firewall: () => this.#findFirewall(),
        ...(this.#options.internet !== undefined && { internet: this.#options.internet }),
      },
    );
  }

  /**
   * Starts a container whose image is present. Cores and processes are capped at the ceilings. Rejects with `container-invalid`,
   * `container-limits` or `image-missing`; any other failure shows in how the container ended.
   */
  async start(wish: ContainerSpec, onLine: OnLine): Promise<Container> {
    if (this.#closed) throw new PeerworkError('closed');
    checkSpec(wish);
    const { memoryMb, cpus, pids } = this.ceilings;
    if (wish.memoryMb > memoryMb) throw new PeerworkError('container-limits', `${wish.memoryMb} MiB of memory, allowed are ${memoryMb}`);
    const image = await this.images.find(wish.image);
    if (image === undefined) throw new PeerworkError('image-missing', wish.image);
    // By id, because the facts were read from exactly this image, while a name may move to another.
    const spec = { ...wish, image: image.id, cpus: Math.min(wish.cpus, cpus), pids: Math.min(wish.pids, pids) };
    await this.#mark();
    const name = `peerwork-${this.#worker}-${randomBytes(5).toString('hex')}`;
    const folder = join(this.#folder, name);
    await mkdir(folder, { mode: 0o700 });
    const envFile = join(folder, 'env');
    const env = Object.entries({ ...spec.env, ...spec.egress.env });
    await writeFile(envFile, env.map(([key, value]) => `${key}=${value}\n`).join(''), { mode: 0o600, flag: 'wx' });
    this.#leash.hold();
    const { command, facts } = this.#engine;
    const trusted = isTrustedImage(wish.image, image, this.#options.trustedImages);
    const identity: RunIdentity = {
      ...{ name, labels: this.#labels(spec.job), envFile },
      ...(trusted ? { imageUser: image.user } : { user: this.user }),
      // The volumes of a trusted image are counted together with its layer, where that is possible.
      volumes: trusted && seesLayers(facts) ? [] : image.volumes,
    };
    const run = await command.open(runArguments(facts, spec, identity), folder);
    const container = new Container({ facts, command, clock: this.#options.clock }, name, run, {
      folder,
      onLine,
      writable: trusted,
      ...(spec.stopGraceMs !== undefined && { graceMs: spec.stopGraceMs }),
    });
    this.#containers.add(container);
    void container.ended.then(() => clearAway(folder, this.#options.log));
    if (this.#closed) await container.kill();
    return container;
  }

  /** Removes an ended container and then calls `rest`, in the background: the outcome of a job does not wait for it, `close` does. */
  discard(container: Container | undefined, rest: () => Promise<void> = async () => {}): void {
    const removed = container === undefined ? Promise.resolve() : this.#removal.add(container);
    const removing = removed
      .then(rest)
      .catch((error: unknown) =>
        this.#options.log.warn('something of a container job was left behind', {
          error,
          hint: 'No action needed if the Worker’s next start removes it. Otherwise check the engine: `docker ps -a`, `docker network ls`, its log.',
        }),
      )
      .finally(() => {
        this.#removals.delete(removing);
        if (container !== undefined) this.#containers.delete(container);
      });
    this.#removals.add(removing);
  }

  /** Kills and removes whatever is left. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#containers].map((container) => container.remove()));
    await Promise.all([...this.#containers].map((container) => container.ended));
    this.#removal.flush();
    await Promise.all(this.#removals);
    // A container whose start was interrupted may have been created after all.
    if (this.#used) {
      await this.#removeAll().catch(() => 0);
      await clearAway(this.#markFile, this.#options.log);
    }
    await this.#leash.release();
  }

  #labels(job: string): Record<string, string> {
    const { worker } = this.#options;
    const [name, id] = [printable(worker, MAX_LABEL_CHARS), printable(job, MAX_LABEL_CHARS)];
    return { 'peerwork.worker': this.#worker, 'peerwork.name': name, 'peerwork.job': id };
  }

  /**
   * Marks that something may be left behind from now on. Without the mark, the next start of a worker that runs no containers skips the
   * clean-up, which takes processes and memory.
   */
  async #mark(): Promise<void> {
    if (this.#used) return;
    this.#used = true;
    await writeFile(this.#markFile, '');
  }

  get #markFile(): string {
    return join(this.#folder, 'in-use');
  }

  /** Removes what an earlier process of this worker left: orphaned containers, their networks and rules, their files of variables. */
  async #sweep(): Promise<void> {
    const names = await readdir(this.#folder);
    if (!names.includes(basename(this.#markFile))) return;
    const removed = await this.#removeAll();
    if (removed > 0) this.#options.log.info('containers of an earlier run were still there and are removed', { removed });
    const folders = names.filter((name) => name.startsWith(`peerwork-${this.#worker}-`));
    for (const name of folders) await clearAway(join(this.#folder, name), this.#options.log);
    const firewall = await this.#findFirewall();
    if (typeof firewall !== 'string') await firewall.sweep();
    await clearAway(this.#markFile, this.#options.log);
  }

  #findFirewall(): Promise<Firewall | string> {
    this.#firewall ??= Firewall.find(this.#engine, this.#worker);
    return this.#firewall;
  }

  /** Removes every container of this worker, known or not; returns how many there were. */
  async #removeAll(): Promise<number> {
    const { command } = this.#engine;
    const listed = await command.run(['ps', '-aq', '--filter', `label=peerwork.worker=${this.#worker}`]);
    const left = listed.split('\n').filter(Boolean);
    if (left.length > 0) await command.try(['rm', '-f', '-v', ...left]);
    return left.length;
  }
}

/** Returns an ordinary user; root only if the engine's root is an ordinary user outside. */
function userFor(facts: EngineFacts): string {
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  if (facts.rootless && facts.kind === 'docker') return '0:0';
  return uid === 0 || !facts.local ? UNPRIVILEGED : `${uid}:${gid}`;
}
