import { answerOffer, createOffer, type DialOptions } from '../../../src/swarm/link/dial.js';
import { type IceAccess, plainIce } from '../../../src/swarm/link/ice.js';
import { createNodeEngine } from '../../../src/swarm/link/webrtc.node.js';
import type { Link } from '../../../src/swarm/link.js';

export const engine = createNodeEngine();
export const noServers: IceAccess = plainIce([]);

/** Returns both ends of a real link in this process: the offerer's and the answerer's. */
export async function linkPair(options: DialOptions = {}, ice = noServers): Promise<[Link, Link]> {
  const outgoing = await createOffer(engine, ice, options);
  const incoming = answerOffer(engine, ice, outgoing.sdp, options);
  outgoing.accept(await incoming.answer);
  return Promise.all([outgoing.opened, incoming.opened]);
}

export function closed(link: Link): Promise<Error & { code?: string }> {
  return new Promise((resolve) => link.onClose(resolve));
}
