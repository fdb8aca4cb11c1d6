import type { Test } from 'tap';
import type { PeerworkError } from '../../src/errors.js';
import { createKeyPair, type KeyPair } from '../../src/swarm/identity.js';
import type { WebRtcEngine } from '../../src/swarm/link/engine.js';
import { MasterSwarm, type MasterSwarmOptions } from '../../src/swarm/master-swarm.js';
import type { Peer } from '../../src/swarm/peer.js';
import { nodePlatform } from '../../src/swarm/platform.node.js';
import type { SwarmOptions } from '../../src/swarm/swarm-settings.js';
import { createToken, type Token } from '../../src/swarm/token.js';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { WorkerSwarm } from '../../src/swarm/worker-swarm.js';

export const platform = nodePlatform();
export const { primitives } = platform;

/** Returns a platform that counts the PeerConnections created on it. */
export function countingPlatform() {
  const made = { connections: 0 };
  const { RTCPeerConnection } = platform.engine;
  class Counted extends RTCPeerConnection {
    constructor(config?: RTCConfiguration) {
      super(config);
      made.connections += 1;
    }
  }
  const engine: WebRtcEngine = { ...platform.engine, RTCPeerConnection: Counted };
  return { made, platform: { ...platform, engine } };
}

export async function startTracker(test: Test, port = 0): Promise<TrackerServer> {
  const server = new TrackerServer();
  await server.start(port);
  test.teardown(() => server.close());
  return server;
}

export function makeToken(trackers: readonly string[]): { token: Token; identity: KeyPair } {
  const identity = createKeyPair(primitives);
  return { identity, token: createToken({ publicKey: identity.publicKey, trackers }, primitives) };
}

/** Starts a swarm that records its events and is closed at the end of the test. */
export function startMaster(test: Test, options: Partial<MasterSwarmOptions> & Pick<MasterSwarmOptions, 'token' | 'identity'>) {
  const swarm = new MasterSwarm({ name: 'the master', platform, accept: () => ({}), ice: [], ...options });
  return follow(test, swarm);
}

export function startWorker(test: Test, options: Partial<SwarmOptions> & Pick<SwarmOptions, 'token'>) {
  const swarm = new WorkerSwarm({
    name: 'a worker',
    identity: createKeyPair(primitives),
    platform,
    accept: () => ({}),
    ice: [],
    ...options,
  });
  return follow(test, swarm);
}

function follow<Swarm extends MasterSwarm | WorkerSwarm>(test: Test, swarm: Swarm) {
  const connected: Peer[] = [];
  const disconnected: { peer: Peer; error: Error }[] = [];
  const warnings: PeerworkError[] = [];
  const either: MasterSwarm | WorkerSwarm = swarm;
  either.on('connected', (peer) => connected.push(peer));
  either.on('disconnected', (peer, error) => disconnected.push({ peer, error }));
  either.on('warning', (error) => warnings.push(error));
  test.teardown(() => either.close());
  either.start();
  return { swarm, connected, disconnected, warnings, codes: () => warnings.map(({ code }) => code) };
}
