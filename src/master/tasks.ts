import { PeerworkError } from '../errors.js';
import type { ChildBounds } from '../job/child-bounds.js';
import type { SignedManifest } from '../job/source.js';
import type { TaskPublisher } from '../task/publish.js';

/** The tasks that this Master publishes: one publisher per channel. */
export class Tasks {
  readonly #publishers: ReadonlyMap<string, TaskPublisher>;
  readonly #release: () => Promise<void>;

  readonly #children: Readonly<Record<string, ChildBounds>>;

  /** @param release frees what the publishers use @param children per channel, adds to the tasks' declarations */
  constructor(
    publishers: ReadonlyMap<string, TaskPublisher>,
    release: () => Promise<void>,
    children: Readonly<Record<string, ChildBounds>> = {},
  ) {
    this.#publishers = publishers;
    this.#children = children;
    this.#release = release;
  }

  get channels(): readonly string[] {
    return [...this.#publishers.keys()];
  }

  /** Returns the channels whose tasks need one of these kinds of runner. */
  channelsFor(runners: readonly string[]): readonly string[] {
    return this.channels.filter((channel) => runners.includes(this.current(channel).runner));
  }

  /** Returns the version for a run of this channel that is leased now. Throws `task-unknown`. */
  current(channel: string): { readonly runner: string; readonly digest: string; readonly tunnel?: string } {
    const publication = this.#publishers.get(channel)?.current;
    if (publication === undefined) throw new PeerworkError('task-unknown', channel);
    const { runner, tunnel } = publication.manifest;
    return { runner, digest: publication.digest, ...(tunnel !== undefined && { tunnel }) };
  }

  /**
   * Returns where children of this channel's jobs may go besides the channel itself: what the task's current version declares, and
   * what the owner adds.
   */
  childBounds(channel: string): ChildBounds {
    const declared = this.#publishers.get(channel)?.current?.manifest.children;
    const added = Object.hasOwn(this.#children, channel) ? this.#children[channel] : undefined;
    return {
      channels: [...(declared?.channels ?? []), ...(added?.channels ?? [])],
      workgroups: [...(declared?.workgroups ?? []), ...(added?.workgroups ?? [])],
    };
  }

  /** Returns a published manifest with its signature. Throws `asset-unknown`. */
  signed(digest: string): SignedManifest {
    for (const publisher of this.#publishers.values()) {
      const publication = publisher.publication(digest);
      if (publication !== undefined) return publication.signed;
    }
    throw new PeerworkError('asset-unknown', digest);
  }

  /** Yields a published file from this offset. Throws `asset-unknown`. */
  blob(sha256: string, offset: number): AsyncIterable<Uint8Array> {
    for (const publisher of this.#publishers.values()) if (publisher.holds(sha256)) return publisher.blob(sha256, offset);
    throw new PeerworkError('asset-unknown', sha256);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#publishers.values()].map((publisher) => publisher.close()));
    await this.#release();
  }
}
