import type { ErrorCode } from '../errors.js';
import type { LeaseKey } from '../job/verbs.js';
import type { Peer, PeerFacts, RpcHandlers } from '../swarm/peer.js';
import type { ConnectedWorker } from './connected-worker.js';
import { WorkerSession, type WorkerSessionOptions } from './worker-session.js';

interface Member {
  readonly session: WorkerSession;
  readonly connectedAt: number;
  peer: Peer | undefined;
}

export type RosterOptions = Omit<WorkerSessionOptions, 'facts' | 'instances'>;

/** The workers currently linked to this Master. */
export class Roster {
  readonly #options: RosterOptions;
  readonly #members = new Map<string, Member>();
  /** The last seen instance of each worker's process: outlives links, but not this Master. */
  readonly #instances = new Map<string, string>();

  constructor(options: RosterOptions) {
    this.#options = options;
  }

  /** Sets up the calls of a worker after its handshake succeeded. A newer link of the same worker replaces the older one. */
  accept(facts: PeerFacts): RpcHandlers {
    const session = new WorkerSession({ ...this.#options, facts, instances: this.#instances });
    this.#members.set(facts.id, { session, connectedAt: this.#options.service.clock.wall(), peer: undefined });
    return session.handlers;
  }

  /** Records the link of an accepted worker. */
  join(peer: Peer): ConnectedWorker {
    const member = this.#members.get(peer.id);
    if (member === undefined) throw new Error('a peer joined that was never accepted');
    member.peer = peer;
    return describe(member);
  }

  /** Returns undefined if a newer link has replaced it. */
  leave(peer: Peer): ConnectedWorker | undefined {
    const member = this.#members.get(peer.id);
    if (member?.peer !== peer) return undefined;
    this.#members.delete(peer.id);
    return describe(member);
  }

  /** Notifies a worker that one of its runs no longer counts. */
  cancel(workerId: string, lease: LeaseKey): void {
    const member = this.#members.get(workerId);
    member?.session.forget(lease);
    member?.peer?.rpc.notify('cancelWork', { leases: [lease] });
  }

  /** Ends the link of a worker, with the reason. */
  dismiss(workerId: string, reason: ErrorCode): void {
    this.#members.get(workerId)?.peer?.rpc.close(reason);
  }

  /** Renews the leases of the workers heard since the last call. */
  renew(): void {
    for (const { peer, session } of this.#members.values())
      if (peer !== undefined)
        session.renew(peer.rpc.traffic.received).catch((error: unknown) => {
          this.#options.service.log.debug('leases could not be renewed', { worker: session.worker.name, error });
        });
  }

  /** Returns the workers whose link is up. */
  list(): ConnectedWorker[] {
    return [...this.#members.values()].filter(({ peer }) => peer !== undefined).map(describe);
  }
}

function describe({ session, connectedAt, peer }: Member): ConnectedWorker {
  const { id, name, connectMs } = session.facts;
  return {
    id,
    name,
    // Links move from a relay to a direct path.
    path: (peer ?? session.facts).path,
    connectMs,
    connectedAt,
    running: session.running,
    roundTripMs: peer?.rpc.roundTripMs,
    traffic: peer?.rpc.traffic ?? { sent: 0, received: 0 },
    ...session.greeting,
  };
}
