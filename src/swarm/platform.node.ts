import { nodePrimitives } from './crypto.node.js';
import type { WebRtcEngine } from './link/engine.js';
import { plainIce } from './link/ice.js';
import { openNodeIce } from './link/ice.node.js';
import { createNodeEngine } from './link/webrtc.node.js';
import type { Platform } from './platform.js';
import { openNodeSocket } from './rendezvous/socket.node.js';

export interface NodePlatformOptions {
  /** Another WebRTC package with the interface of `wrtc` (`@roamhq/wrtc`), which then has to speak TURN over TCP and TLS by itself. */
  readonly engine?: WebRtcEngine | undefined;
  /** PEM certificates to trust for `turns:` instead of the system's. */
  readonly turnCa?: string | undefined;
}

/** Returns a platform that is cheap and holds no resources; any number of swarms may share one. */
export function nodePlatform({ engine, turnCa }: NodePlatformOptions = {}): Platform {
  return {
    primitives: nodePrimitives,
    engine: engine ?? createNodeEngine(),
    openSocket: openNodeSocket,
    openIce: (servers, options) => (engine ? plainIce(servers) : openNodeIce(servers, { ...options, turnCa })),
  };
}
