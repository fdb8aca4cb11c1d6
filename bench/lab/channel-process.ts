/**
 * One end of a bare data channel of node-datachannel, the library below our links, with nothing of ours in between. The benchmark
 * carries the descriptions from one end to the other.
 */
import nodeDataChannel, { type DataChannel, type PeerConnection } from 'node-datachannel';
import { serve, sharedNow } from './child.js';

/** As our links send bulk data. */
const MESSAGE_BYTES = 64 * 1024;
const HIGH_WATER_BYTES = 512 * 1024;
const LOW_WATER_BYTES = 256 * 1024;
const PING_BYTES = 200;

interface Description {
  readonly type: string;
  readonly sdp: string;
}

const connection: PeerConnection = new nodeDataChannel.PeerConnection('bench', { iceServers: [] });
let channel: DataChannel | undefined;
let opened: () => void = () => {};
const isOpen = new Promise<void>((resolve) => {
  opened = resolve;
});
let expected = 0;
let received: () => void = () => {};
let pong: () => void = () => {};
let drained: () => void = () => {};

function use(given: DataChannel): void {
  channel = given;
  given.setBufferedAmountLowThreshold(LOW_WATER_BYTES);
  given.onBufferedAmountLow(() => drained());
  given.onMessage((message) => {
    if (typeof message === 'string') return;
    if (expected > 0) {
      expected -= message.byteLength;
      if (expected <= 0) received();
    } else if (echo) given.sendMessageBinary(new Uint8Array(message));
    else pong();
  });
  given.onOpen(() => opened());
  if (given.isOpen()) opened();
}

let echo = false;
connection.onDataChannel(use);

/** Ours, complete with candidates. */
function description(): Promise<Description> {
  return new Promise((resolve) => {
    const done = () => {
      const { type, sdp } = connection.localDescription() ?? { type: '', sdp: '' };
      resolve({ type, sdp });
    };
    connection.onGatheringStateChange((state) => {
      if (state === 'complete') done();
    });
    if (connection.gatheringState() === 'complete') done();
  });
}

const verbs = {
  offer(): Promise<Description> {
    const done = description();
    use(connection.createDataChannel('bench'));
    return done;
  },

  answer({ type, sdp }: Description): Promise<Description> {
    echo = true;
    const done = description();
    connection.setRemoteDescription(sdp, type as 'offer');
    return done;
  },

  accept({ type, sdp }: Description): void {
    connection.setRemoteDescription(sdp, type as 'answer');
  },

  open: () => isOpen,

  /** Milliseconds of each round trip of a small message, one after the other. */
  async roundTrips({ count }: { readonly count: number }): Promise<number[]> {
    const times: number[] = [];
    const message = Buffer.alloc(PING_BYTES);
    for (let at = 0; at < count; at += 1) {
      const back = new Promise<void>((resolve) => {
        pong = resolve;
      });
      const startedAt = sharedNow();
      channel?.sendMessageBinary(message);
      await back;
      times.push(sharedNow() - startedAt);
    }
    return times;
  },

  /** Resolves with the instant when so many bytes have come. */
  expect({ bytes }: { readonly bytes: number }): Promise<number> {
    return new Promise((resolve) => {
      expected = bytes;
      received = () => resolve(sharedNow());
    });
  },

  /** Sends so many bytes; answers with the instant when it began. */
  async send({ bytes }: { readonly bytes: number }): Promise<number> {
    const startedAt = sharedNow();
    const message = Buffer.alloc(MESSAGE_BYTES, 1);
    for (let rest = bytes; rest > 0; rest -= MESSAGE_BYTES) {
      channel?.sendMessageBinary(rest < MESSAGE_BYTES ? message.subarray(0, rest) : message);
      while ((channel?.bufferedAmount() ?? 0) > HIGH_WATER_BYTES)
        await new Promise<void>((resolve) => {
          drained = resolve;
        });
    }
    return startedAt;
  },
};
export type ChannelVerbs = typeof verbs;

serve(verbs, async () => {
  channel?.close();
  connection.close();
  nodeDataChannel.cleanup();
});
