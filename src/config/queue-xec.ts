import { option } from './option.js';
import { anyText, every, single, yesOrNo } from './values.js';

const KEY_BYTES = 32;
const HOST_PORT = /^(?:\[[\da-f:.]+\]|[^\s:[\]]+):\d{1,5}$/i;
const isHostPort = (text: string) => HOST_PORT.test(text) && Number(text.replace(/^.*:/, '')) <= 65_535;

/** Rooms of queue-xec: for Workers that serve one of its Masters, and for Masters that serve its Workers. */
export const queueXecOptions = {
  queueXecToken: option<string, undefined>({
    flag: '--queue-xec-token <text>',
    env: 'PEERWORK_QUEUE_XEC_TOKEN',
    commands: ['worker', 'master'],
    meaning: 'The `token` of a queue-xec 2 room. A Worker that is given one takes jobs from the Master there. Better kept in .env.',
    allowed: 'text',
    default: undefined,
    secret: true,
    parse: anyText,
  }),
  queueXecKey: option<string, undefined>({
    flag: '--queue-xec-key <text>',
    env: 'PEERWORK_QUEUE_XEC_KEY',
    commands: ['worker', 'master'],
    meaning: 'The `transferEncryptToken` of that room. Better kept in .env.',
    allowed: `exactly ${KEY_BYTES} bytes`,
    default: undefined,
    secret: true,
    parse: single((text) => (Buffer.byteLength(text) === KEY_BYTES ? text : undefined)),
  }),
  legacyQueueXec: option<boolean, false>({
    flag: '--legacy-queue-xec',
    env: 'PEERWORK_LEGACY_QUEUE_XEC',
    commands: ['master'],
    meaning:
      'Whether Workers of queue-xec 2 are given jobs too, in the room of `--queue-xec-token`. They are less well protected than ours.',
    allowed: 'yes or no',
    default: false,
    defaultText: 'no',
    parse: yesOrNo,
  }),
  queueXecPeers: option<readonly string[], undefined>({
    flag: '--queue-xec-peer <host:port>',
    env: 'PEERWORK_QUEUE_XEC_PEERS',
    commands: ['worker', 'master'],
    meaning: 'Members of the room that are linked to directly, besides those that are found.',
    allowed: 'host:port',
    default: undefined,
    defaultText: 'none',
    many: true,
    parse: every(isHostPort),
  }),
  queueXecListen: option<string, undefined>({
    flag: '--queue-xec-listen <host:port>',
    env: 'PEERWORK_QUEUE_XEC_LISTEN',
    commands: ['worker', 'master'],
    meaning: 'Where other members of the room may link to this one.',
    allowed: 'host:port',
    default: undefined,
    defaultText: 'every address, a free port',
    parse: single((text) => (isHostPort(text) ? text : undefined)),
  }),
  queueXecLsd: option<boolean, true>({
    flag: '--queue-xec-lsd',
    env: 'PEERWORK_QUEUE_XEC_LSD',
    commands: ['worker', 'master'],
    meaning: 'Whether members of the room are looked for in the local network, by multicast.',
    allowed: 'yes or no',
    default: true,
    defaultText: 'yes',
    parse: yesOrNo,
  }),
  queueXecDht: option<readonly string[], undefined>({
    flag: '--queue-xec-dht <nodes>',
    env: 'PEERWORK_QUEUE_XEC_DHT',
    commands: ['worker', 'master'],
    meaning: "Whether members of the room are looked for in BitTorrent's DHT, which shows everybody there this machine's address.",
    allowed: '`yes`, `no`, or host:port of nodes to begin at',
    default: undefined,
    defaultText: 'yes',
    many: true,
    parse: (given) => (given.length === 1 && /^(yes|no)$/.test(given[0] ?? '') ? given : every(isHostPort)(given)),
  }),
} as const;
