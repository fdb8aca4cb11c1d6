/** A peer of the NAT lab at link level: makes and answers offers as it is told, and echoes what comes over its links. */
import { answerOffer, createOffer, type DialOptions, type OutgoingAttempt } from '../../src/swarm/link/dial.js';
import { type IceAccess, parseIceServers } from '../../src/swarm/link/ice.js';
import { openNodeIce } from '../../src/swarm/link/ice.node.js';
import { createNodeEngine } from '../../src/swarm/link/webrtc.node.js';
import type { Link } from '../../src/swarm/link.js';
import { serve } from './lab-process.js';

export interface Opened {
  readonly path: string;
  /** From the offer, or from its arrival here. */
  readonly openMs: number;
}

const engine = createNodeEngine();
let ice: IceAccess | undefined;
let outgoing: OutgoingAttempt | undefined;
let opening: Promise<Link> | undefined;
let beganAt = 0;

serve({
  /** A new member of the swarm: forgets what it knew about its network. Resolves when that is known again. */
  async join({ servers, ca }: { servers: string[]; ca?: string }): Promise<{ probeMs: number; uses: string[] }> {
    ice?.close();
    const at = performance.now();
    ice = openNodeIce(parseIceServers(servers), { turnCa: ca });
    const uses = (await ice.servers()).flatMap((server) => server.urls);
    return { probeMs: performance.now() - at, uses };
  },
  async offer(options: DialOptions): Promise<string> {
    beganAt = performance.now();
    outgoing = await createOffer(engine, access(), options);
    opening = outgoing.opened;
    return outgoing.sdp;
  },
  async answer({ sdp, ...options }: { sdp: string } & DialOptions): Promise<string> {
    beganAt = performance.now();
    const incoming = answerOffer(engine, access(), sdp, options);
    opening = incoming.opened;
    incoming.opened.then(
      (link) => link.onMessage((message) => link.send(message)),
      () => {},
    );
    return incoming.answer;
  },
  accept: ({ sdp }: { sdp: string }) => outgoing?.accept(sdp),
  async opened(): Promise<Opened> {
    const link = await current();
    return { path: link.path, openMs: performance.now() - beganAt };
  },
  async path(): Promise<string> {
    return (await current()).path;
  },
  /** Sends so many bytes to the other side, and back. */
  async echo({ bytes }: { bytes: number }): Promise<{ same: boolean }> {
    const link = await current();
    const message = new Uint8Array(bytes).map((_, at) => at * 7);
    const back = new Promise<Uint8Array>((resolve) => link.onMessage(resolve));
    link.send(message);
    return { same: Buffer.compare(message, await back) === 0 };
  },
  async close(): Promise<void> {
    const link = await opening?.catch(() => undefined);
    link?.close();
    opening = undefined;
  },
  leave(): void {
    ice?.close();
    ice = undefined;
  },
});

function access(): IceAccess {
  if (ice === undefined) throw new Error('not joined');
  return ice;
}

function current(): Promise<Link> {
  return opening ?? Promise.reject(new Error('no attempt'));
}
