import type { ErrorCode } from '../errors.js';
import { shakeHands } from './handshake.js';
import type { Link } from './link.js';
import type { Peer, PeerFacts, Role } from './peer.js';
import { RpcSession } from './rpc/session.js';
import type { SwarmSettings } from './swarm-settings.js';

export interface SessionOptions {
  /** Our own role. */
  readonly role: Role;
  readonly settings: SwarmSettings;
  /** When the attempt began. */
  readonly startedAt: number;
  /** Ends the session, in whatever state it is. */
  readonly signal: AbortSignal;
  readonly admit?: ((id: string, name: string) => ErrorCode | undefined) | undefined;
}

/** An authenticated peer that is not being served yet. */
export interface Session {
  readonly peer: Peer;
  /** Resolves with the reason why the link ended. */
  readonly ended: Promise<Error>;
  /** Starts serving the peer; what it has requested until now was kept. */
  start(): void;
}

/**
 * Performs the handshake on an open link and returns a peer that can be called. If the handshake fails, closes the link and rejects with
 * the reason.
 */
export async function openSession(link: Link, options: SessionOptions): Promise<Session> {
  const { role, settings, startedAt, signal, admit } = options;
  const { platform, token, identity, name, transferSecret, clock, times, log, accept } = settings;
  let close = () => link.close();
  const abort = () => close();
  signal.addEventListener('abort', abort, { once: true });
  link.onClose(() => signal.removeEventListener('abort', abort));
  if (signal.aborted) abort();
  const handshaken = await shakeHands(link, {
    role,
    token,
    keyPair: identity,
    name,
    transferEncryptToken: transferSecret,
    admit,
    primitives: platform.primitives,
    clock,
    ...(times.handshakeMs === undefined ? {} : { timeoutMs: times.handshakeMs }),
  });
  const facts: PeerFacts = { ...handshaken.peer, path: link.path, connectMs: clock.now() - startedAt };
  const rpc = new RpcSession({ link, handshaken, primitives: platform.primitives, clock, log });
  close = () => rpc.close();
  if (signal.aborted) close();
  try {
    const handlers = accept(facts);
    const peer: Peer = {
      ...facts,
      rpc,
      get path() {
        return link.path;
      },
    };
    return { peer, ended: rpc.closed, start: () => rpc.start(handlers) };
  } catch (thrown) {
    rpc.close('internal');
    throw thrown;
  }
}
