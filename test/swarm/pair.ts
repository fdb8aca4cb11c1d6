import { type Clock, systemClock } from '../../src/clock.js';
import { silentLog } from '../../src/log.js';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import type { Handshaken, HandshakeOptions } from '../../src/swarm/handshake.js';
import { createKeyPair, identityId } from '../../src/swarm/identity.js';
import type { RpcHandlers } from '../../src/swarm/peer.js';
import { RpcSession } from '../../src/swarm/rpc/session.js';
import { createToken } from '../../src/swarm/token.js';
import { type MemoryLinkOptions, MemoryWire } from './memory-link.js';

export const masterKeys = createKeyPair(nodePrimitives);
export const workerKeys = createKeyPair(nodePrimitives);
export const token = createToken({ publicKey: masterKeys.publicKey }, nodePrimitives);
const shared = { token, primitives: nodePrimitives, clock: systemClock };
export const masterOptions: HandshakeOptions = { ...shared, role: 'master', keyPair: masterKeys, name: 'the master' };
export const workerOptions: HandshakeOptions = { ...shared, role: 'worker', keyPair: workerKeys, name: 'a worker' };

export interface Pair {
  readonly wire: MemoryWire;
  readonly master: RpcSession;
  readonly worker: RpcSession;
  close(): Promise<void>;
}

/** Returns both ends of a session after a simulated handshake, with matching keys. */
export function pairedHandshakes(): readonly [Handshaken, Handshaken] {
  const [toMaster, toWorker] = [nodePrimitives.randomBytes(32), nodePrimitives.randomBytes(32)];
  const [master, worker] = [
    { id: identityId(masterKeys.publicKey), name: 'the master', role: 'master' },
    { id: identityId(workerKeys.publicKey), name: 'a worker', role: 'worker' },
  ] as const;
  return [
    { keys: { send: toWorker, receive: toMaster }, peer: worker, early: [] },
    { keys: { send: toMaster, receive: toWorker }, peer: master, early: [] },
  ];
}

/** Returns a Master and a Worker that can call each other. */
export function openPair(masterHandlers: RpcHandlers, workerHandlers: RpcHandlers, options: MemoryLinkOptions = {}): Pair {
  const clock: Clock = options.clock ?? systemClock;
  const wire = new MemoryWire(options);
  const [ofMaster, ofWorker] = pairedHandshakes();
  const common = { primitives: nodePrimitives, clock, log: silentLog };
  const master = new RpcSession({ link: wire.a, handshaken: ofMaster, ...common });
  const worker = new RpcSession({ link: wire.b, handshaken: ofWorker, ...common });
  master.start(masterHandlers);
  worker.start(workerHandlers);
  return {
    wire,
    master,
    worker,
    async close() {
      master.close();
      worker.close();
      await Promise.all([master.closed, worker.closed]);
    },
  };
}

/** Returns a pair whose Master serves these streams and echoes calls; closed with the test. */
export function openStreamPair(
  t: { teardown(action: () => void): void },
  streams: NonNullable<RpcHandlers['streams']>,
  options: MemoryLinkOptions = {},
): Pair {
  const pair = openPair({ calls: { echo: (args) => args }, streams }, {}, options);
  t.teardown(() => {
    pair.wire.a.close();
    pair.wire.b.close();
  });
  return pair;
}

/** Yields `total` bytes, in chunks. */
export async function* zeros(total: number, chunk = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let sent = 0; sent < total; sent += chunk) yield new Uint8Array(Math.min(chunk, total - sent));
}
