import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';

export type TrackerText = Record<string, unknown> & {
  offer?: { sdp: string };
  answer?: { sdp: string };
  offers?: { offer: { sdp: string } }[];
};

export interface TrackerProxyOptions {
  /** Returns the message to forward, or undefined for none. `say` sends to the peer of this socket in the tracker's name. */
  readonly fromPeer?: (message: TrackerText, say: (message: unknown) => void) => TrackerText | undefined;
  readonly fromTracker?: (message: TrackerText) => TrackerText | undefined;
}

/** A tracker in front of another one: it sees every message, and may change it. */
export async function startTrackerProxy(upstream: string, options: TrackerProxyOptions = {}) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const seen: string[] = [];
  const pass = (to: WebSocket, change: ((message: TrackerText) => TrackerText | undefined) | undefined) => (data: unknown) => {
    const text = String(data);
    seen.push(text);
    const message = change ? change(JSON.parse(text) as TrackerText) : (JSON.parse(text) as TrackerText);
    if (message && to.readyState === WebSocket.OPEN) to.send(JSON.stringify(message));
  };
  server.on('connection', (peer) => {
    const tracker = new WebSocket(upstream);
    const early: unknown[] = [];
    const say = (message: unknown) => peer.send(JSON.stringify(message));
    const onward = pass(tracker, options.fromPeer && ((message) => options.fromPeer?.(message, say)));
    peer.on('message', (data) => {
      if (tracker.readyState === WebSocket.OPEN) onward(data);
      else early.push(data);
    });
    tracker.on('open', () => early.splice(0).forEach(onward));
    tracker.on('message', pass(peer, options.fromTracker));
    for (const [one, other] of [
      [peer, tracker],
      [tracker, peer],
    ] as const) {
      one.on('error', () => {});
      one.on('close', () => other.close());
    }
  });
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** Every message of both directions, unmodified. */
    seen: seen as readonly string[],
    close() {
      for (const socket of server.clients) socket.terminate();
      server.close();
    },
  };
}

/** Returns the same message with a changed description, if it has one. */
export function withSdp(message: TrackerText, change: (sdp: string) => string): TrackerText {
  const changed = <T extends { sdp: string }>(description: T): T => ({ ...description, sdp: change(description.sdp) });
  return {
    ...message,
    ...(message.offer && { offer: changed(message.offer) }),
    ...(message.answer && { answer: changed(message.answer) }),
    ...(message.offers && { offers: message.offers.map((each) => ({ ...each, offer: changed(each.offer) })) }),
  };
}
