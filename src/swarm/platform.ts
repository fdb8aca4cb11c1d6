import type { Clock } from '../clock.js';
import type { Log } from '../log.js';
import type { Primitives } from './crypto.js';
import type { WebRtcEngine } from './link/engine.js';
import type { IceAccess, IceServer } from './link/ice.js';
import type { OpenSocket } from './rendezvous/socket.js';

/** Everything the swarm needs from the engine it runs on. Node's implementation is `nodePlatform()`; a browser can have its own. */
export interface Platform {
  readonly primitives: Primitives;
  readonly engine: WebRtcEngine;
  readonly openSocket: OpenSocket;
  /** Provides STUN and TURN servers in a form that the engine understands. The caller closes it. */
  openIce(servers: readonly IceServer[], options: { readonly clock: Clock; readonly log: Log }): IceAccess;
}
