/**
 * One end of a bare data channel of node-datachannel, the library below our links, with nothing of ours in between. The benchmark
 * carries the descriptions from one end to the other.
 */
import nodeDataChannel, { type DataChannel, type PeerConnection } from 'node-datachannel';
import { serve, sharedNow, usage } from './child.js';

/** As our links send bulk data. */
const MESSAGE_BYTES = 64 * 1024;
const HIGH_WATER_BYTES = 512 * 1024;
const LOW_WATER_BYTES = 256 * 1024;
const PING_BYTES = 200;
const CANDIDATES_LATE_MS = 50;

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

/** The candidates a moment later: together with the description they now and then come before the library is ready for them. */
function setRemote({ type, sdp }: Description): void {
  const isCandidate = (line: string) => /^a=(candidate|end-of-candidates)/.test(line);
  const lines = sdp.split('\r\n');
  connection.setRemoteDescription(lines.filter((line) => !isCandidate(line)).join('\r\n'), type as 'offer' | 'answer');
  const mid = lines.find((line) => line.startsWith('a=mid:'))?.slice('a=mid:'.length) ?? '0';
  setTimeout(() => {
    for (const line of lines) if (line.startsWith('a=candidate')) connection.addRemoteCandidate(line.slice('a='.length), mid);
  }, CANDIDATES_LATE_MS);
}

const verbs = {
  offer(): Promise<Description> {
    const done = description();
    use(connection.createDataChannel('bench'));
    return done;
  },

  answer(given: Description): Promise<Description> {
    echo = true;
    const done = description();
    setRemote(given);
    return done;
  },

  accept(given: Description): void {
    setRemote(given);
  },

  open: () => isOpen,

  /** Milliseconds of each round trip of a small message, one after the other, each after a pause. */
  async roundTrips({ count, pauseMs }: { readonly count: number; readonly pauseMs: number }): Promise<number[]> {
    const times: number[] = [];
    const message = Buffer.alloc(PING_BYTES);
    for (let at = 0; at < count; at += 1) {
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
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

  usage,
};
export type ChannelVerbs = typeof verbs;

serve(verbs, async () => {
  channel?.close();
  connection.close();
  nodeDataChannel.cleanup();
});
