import type { Clock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import type { Json } from '../job/job.js';
import { orAborted } from '../kit/deadline.js';
import type { CommandLine } from './command-line.js';
import { checkImageName } from './container-spec.js';
import { inspectedImages, readEngineJson } from './engine-json.js';
import { fullImageName, isAllowedImage } from './image-names.js';
import { ImageRecord } from './image-record.js';
import { pullImage } from './pull.js';

const pullPolicies = ['missing', 'always', 'never'] as const;
export type PullPolicy = (typeof pullPolicies)[number];

export interface ImagesOptions {
  readonly command: CommandLine;
  /** Folder of `images.json`. */
  readonly folder: string;
  /** Patterns of images that may be used; default all. */
  readonly allowed?: readonly string[];
  readonly pull: PullPolicy;
  readonly pullTimeoutMs: number;
  /** Quota of pulled images, in bytes; images that were present before do not count. */
  readonly quotaBytes: number;
  readonly clock: Clock;
}

export interface ImageFacts {
  readonly id: string;
  readonly bytes: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Folders for which an engine would create volumes on its disk, where nothing limits them. */
  readonly volumes: readonly string[];
  /** User that its program runs as by default; empty for root. */
  readonly user: string;
  /** `name@sha256:…`, one per registry that has it. */
  readonly digests: readonly string[];
}

export interface ImageWish {
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Json) => void;
}

const KNOWN_MS = 60_000;

interface Pull {
  readonly done: Promise<void>;
  readonly watchers: Set<(progress: Json) => void>;
  readonly controller: AbortController;
}

/** The images of an engine, as far as the owner lets jobs use them. */
export class Images {
  readonly #options: ImagesOptions;
  readonly #record: ImageRecord;
  readonly #pulls = new Map<string, Pull>();
  readonly #known = new Map<string, { readonly facts: ImageFacts; readonly at: number }>();
  readonly #inUse = new Map<string, number>();

  private constructor(options: ImagesOptions, record: ImageRecord) {
    this.#options = options;
    this.#record = record;
  }

  static async open(options: ImagesOptions): Promise<Images> {
    return new Images(options, await ImageRecord.open(options.folder));
  }

  /** Throws `container-invalid` or `image-refused`. */
  check(image: string): void {
    checkImageName(image);
    if (!isAllowedImage(image, this.#options.allowed)) throw new PeerworkError('image-refused', image);
  }

  /**
   * Makes sure that the image is present, pulled if the owner allows that, and keeps it until `release`. Jobs that need the same image
   * share one pull. Rejects with `image-refused`, `image-missing`, or `cancelled`.
   */
  async hold(image: string, wish: ImageWish): Promise<ImageFacts & { release(): void }> {
    this.check(image);
    this.#inUse.set(image, (this.#inUse.get(image) ?? 0) + 1);
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      const users = (this.#inUse.get(image) ?? 1) - 1;
      if (users > 0) this.#inUse.set(image, users);
      else this.#inUse.delete(image);
    };
    try {
      const { pull, clock } = this.#options;
      let facts = await this.find(image);
      // An image that was present before we pulled it is the owner's.
      const ours = facts === undefined || this.#record.has(image);
      if (facts === undefined && pull === 'never') throw new PeerworkError('image-missing', `${image}: it may not be pulled`);
      if (facts === undefined || pull === 'always') {
        await this.#pull(image, wish);
        this.forget(image);
        facts = await this.find(image);
        if (facts === undefined) throw new PeerworkError('image-missing', image);
      }
      if (ours) {
        await this.#record.used(image, clock.wall(), facts.bytes);
        await this.tidy();
      }
      return { ...facts, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Called when the image turned out to be missing: the next job checks again. */
  forget(image: string): void {
    this.#known.delete(image);
  }

  /** Caches `inspect`, which spawns a process each time, for a minute per image. */
  async find(image: string): Promise<ImageFacts | undefined> {
    const now = this.#options.clock.now();
    const known = this.#known.get(image);
    if (known !== undefined && now - known.at < KNOWN_MS) return known.facts;
    const facts = await this.inspect(image);
    if (facts === undefined) this.#known.delete(image);
    else this.#known.set(image, { facts, at: now });
    return facts;
  }

  /** Returns undefined if the image is not present. */
  async inspect(image: string): Promise<ImageFacts | undefined> {
    // Without a format: with one, podman 4.3 still prints a list, docker an object.
    const { exitCode, stdout } = await this.#options.command.try(['image', 'inspect', image]);
    if (exitCode !== 0) return undefined;
    const [found] = readEngineJson(inspectedImages, stdout) ?? [];
    if (found === undefined) return undefined;
    const { Id, Size, RepoDigests, Config } = found;
    return {
      id: Id ?? '',
      bytes: Size ?? 0,
      labels: Config?.Labels ?? {},
      volumes: Object.keys(Config?.Volumes ?? {}),
      user: Config?.User ?? '',
      digests: RepoDigests ?? [],
    };
  }

  /** Removes pulled images beyond the quota; those that a container still uses stay. */
  async tidy(): Promise<void> {
    for (const { image } of this.#record.surplus(this.#options.quotaBytes)) {
      if (this.#inUse.has(image)) continue;
      const { exitCode } = await this.#options.command.try(['image', 'rm', image]);
      // The engine refuses while a container uses it; an image that is already gone needs no retry.
      this.#known.delete(image);
      if (exitCode === 0 || (await this.inspect(image)) === undefined) await this.#record.forget(image);
    }
  }

  async #pull(image: string, { signal, onProgress }: ImageWish): Promise<void> {
    if (signal.aborted) throw new PeerworkError('cancelled');
    const pull = this.#pulls.get(image) ?? this.#startPull(image);
    const watch = onProgress ?? (() => {});
    pull.watchers.add(watch);
    watch({ pull: image, layers: 0, done: 0 });
    try {
      const pulled = await orAborted(
        pull.done.then(() => true),
        signal,
      );
      if (pulled === undefined) throw new PeerworkError('cancelled');
    } finally {
      pull.watchers.delete(watch);
      if (pull.watchers.size === 0) pull.controller.abort();
    }
  }

  #startPull(image: string): Pull {
    const controller = new AbortController();
    const watchers = new Set<(progress: Json) => void>();
    const { command, pullTimeoutMs } = this.#options;
    const done = pullImage({
      command,
      // The full name: podman refuses short names unless its owner has configured what they mean.
      image: fullImageName(image),
      signal: controller.signal,
      timeoutMs: pullTimeoutMs,
      onProgress: (progress) => {
        for (const watch of watchers) watch(progress);
      },
    }).finally(() => {
      if (this.#pulls.get(image) === pull) this.#pulls.delete(image);
    });
    done.catch(() => {});
    const pull: Pull = { done, watchers, controller };
    // Nobody may join a pull that is being abandoned.
    controller.signal.addEventListener('abort', () => {
      if (this.#pulls.get(image) === pull) this.#pulls.delete(image);
    });
    this.#pulls.set(image, pull);
    return pull;
  }
}
