/** A peer of the NAT lab at link level: makes and answers offers on command. */
import { answerOffer, createOffer, type DialOptions, type OutgoingAttempt } from '../../src/swarm/link/dial.js';
import { type IceAccess, parseIceServers } from '../../src/swarm/link/ice.js';
import { openNodeIce } from '../../src/swarm/link/ice.node.js';
import { createNodeEngine } from '../../src/swarm/link/webrtc.node.js';
import type { Link } from '../../src/swarm/link.js';
import { serve } from './lab-process.js';

const engine = createNodeEngine();
let ice: IceAccess | undefined;
let outgoing: OutgoingAttempt | undefined;
let opening: Promise<Link> | undefined;

serve({
  /** Becomes a new member of the swarm, with no knowledge of its network. Resolves once it has gathered that again. */
  async join({ servers, ca }: { servers: string[]; ca?: string }): Promise<void> {
    ice?.close();
    ice = openNodeIce(parseIceServers(servers), { turnCa: ca });
    await ice.servers();
  },
  async offer(options: DialOptions): Promise<string> {
    outgoing = await createOffer(engine, access(), options);
    opening = outgoing.opened;
    return outgoing.sdp;
  },
  async answer({ sdp, ...options }: { sdp: string } & DialOptions): Promise<string> {
    const incoming = answerOffer(engine, access(), sdp, options);
    opening = incoming.opened;
    return incoming.answer;
  },
  accept: ({ sdp }: { sdp: string }) => outgoing?.accept(sdp),
  async opened(): Promise<void> {
    await current();
  },
  async path(): Promise<string> {
    return (await current()).path;
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
