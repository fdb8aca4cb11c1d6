/** A Master's or a Worker's place in the swarm, in the NAT lab. */
import { createKeyPair } from '../../src/swarm/identity.js';
import { MasterSwarm } from '../../src/swarm/master-swarm.js';
import type { Peer } from '../../src/swarm/peer.js';
import { nodePlatform } from '../../src/swarm/platform.node.js';
import { createToken, formatToken } from '../../src/swarm/token.js';
import { WorkerSwarm } from '../../src/swarm/worker-swarm.js';
import { serve } from './lab-process.js';

export interface Connected {
  /** The path when the link opened. */
  readonly path: string;
  /** Milliseconds from the offer to the end of the handshake. */
  readonly connectMs: number;
  /** Milliseconds since the start of the Worker. */
  readonly sinceStartMs: number;
  /** Failures before the link opened. */
  readonly warnings: readonly string[];
}

interface Start {
  readonly trackers: readonly string[];
  readonly ice: readonly string[];
  readonly ca: string;
}

let swarm: MasterSwarm | WorkerSwarm | undefined;
let connected: Promise<Connected> | undefined;
let peer: Peer | undefined;
let warnings: string[] = [];

serve({
  /** Resolves with the token once the tracker has responded. */
  async master({ trackers, ice, ca }: Start): Promise<string> {
    const platform = nodePlatform({ turnCa: ca });
    const identity = createKeyPair(platform.primitives);
    const token = createToken({ publicKey: identity.publicKey, trackers, ice }, platform.primitives);
    const master = new MasterSwarm({
      token,
      identity,
      name: 'master',
      platform,
      accept: () => ({ calls: { double: (args) => [args, args] } }),
    });
    swarm = master;
    master.start();
    await master.ready;
    return formatToken(token);
  },
  worker({ token, ca }: { token: string; ca: string }): void {
    const startedAt = performance.now();
    const platform = nodePlatform({ turnCa: ca });
    const worker = new WorkerSwarm({ token, identity: createKeyPair(platform.primitives), name: 'worker', platform, accept: () => ({}) });
    swarm = worker;
    warnings = [];
    worker.on('warning', (error) => warnings.push(error.message));
    connected = new Promise((resolve) => {
      worker.on('connected', (master) => {
        peer = master;
        resolve({ path: master.path, connectMs: master.connectMs, sinceStartMs: performance.now() - startedAt, warnings });
      });
    });
    worker.start();
  },
  connected: () => connected,
  warnings: () => warnings,
  path: () => peer?.path,
  call: ({ args }: { args: unknown }) => peer?.rpc.call('double', args),
  async stop(): Promise<void> {
    await swarm?.close();
    swarm = undefined;
    peer = undefined;
  },
});
