import { option } from '../../config/option.js';
import { anyText, every, single, yesOrNo } from '../../config/values.js';
import { TRANSFER_KEY_BYTES } from './protocol/transfer-sizes.js';

const HOST_PORT = /^(?:\[[\da-f:.]+\]|[^\s:[\]]+):\d{1,5}$/i;
const isHostPort = (text: string) => HOST_PORT.test(text) && Number(text.replace(/^.*:/, '')) <= 65_535;

/** Options of queue-xec rooms, for Workers that serve one of its Masters and for Masters that serve its Workers. */
export const queueXecOptions = {
  queueXecToken: option<string, undefined>({
    flag: '--queue-xec-token <text>',
    env: 'PEERWORK_QUEUE_XEC_TOKEN',
    commands: ['worker', 'master'],
    meaning: 'The `token` of a queue-xec 2 room. With it, a Worker takes jobs from the Master in that room. Prefer .env to the flag.',
    allowed: 'text',
    default: undefined,
    secret: true,
    parse: anyText,
  }),
  queueXecKey: option<string, undefined>({
    flag: '--queue-xec-key <text>',
    env: 'PEERWORK_QUEUE_XEC_KEY',
    commands: ['worker', 'master'],
    meaning: 'The `transferEncryptToken` of that room. Prefer .env to the flag.',
    allowed: `exactly ${TRANSFER_KEY_BYTES} bytes`,
    default: undefined,
    secret: true,
    parse: single((text) => (Buffer.byteLength(text) === TRANSFER_KEY_BYTES ? text : undefined)),
  }),
  legacyQueueXec: option<boolean, false>({
    flag: '--legacy-queue-xec',
    env: 'PEERWORK_LEGACY_QUEUE_XEC',
    commands: ['master'],
    meaning:
      'Also give jobs to queue-xec 2 Workers, in the room of `--queue-xec-token`. Their connections are less well protected than peerwork’s.',
    allowed: 'yes or no',
    default: false,
    defaultText: 'no',
    parse: yesOrNo,
  }),
  queueXecPeers: option<readonly string[], undefined>({
    flag: '--queue-xec-peer <host:port>',
    env: 'PEERWORK_QUEUE_XEC_PEERS',
    commands: ['worker', 'master'],
    meaning: 'Room members to connect to directly, in addition to those discovered.',
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
    meaning: 'Address where other members of the room may connect to this one.',
    allowed: 'host:port',
    default: undefined,
    defaultText: 'all addresses, a free port',
    parse: single((text) => (isHostPort(text) ? text : undefined)),
  }),
  queueXecLsd: option<boolean, true>({
    flag: '--queue-xec-lsd',
    env: 'PEERWORK_QUEUE_XEC_LSD',
    commands: ['worker', 'master'],
    meaning: 'Discover members of the room in the local network by multicast.',
    allowed: 'yes or no',
    default: true,
    defaultText: 'yes',
    parse: yesOrNo,
  }),
  queueXecDht: option<readonly string[], undefined>({
    flag: '--queue-xec-dht <nodes>',
    env: 'PEERWORK_QUEUE_XEC_DHT',
    commands: ['worker', 'master'],
    meaning: "Discover members of the room through BitTorrent's DHT, which makes this machine's address visible to everyone there.",
    allowed: '`yes`, `no`, or host:port of bootstrap nodes',
    default: undefined,
    defaultText: 'yes',
    many: true,
    parse: (values) => (values.length === 1 && /^(yes|no)$/.test(values[0] ?? '') ? values : every(isHostPort)(values)),
  }),
} as const;
