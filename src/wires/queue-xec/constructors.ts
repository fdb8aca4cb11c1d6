import { amount, type ConstructorOption, type ConstructorTables, derivedFrom } from '../../config/constructor-option.js';
import { DEFAULT_TIMEOUT_MS } from '../../job/limits.js';
import { DEFAULT_NAME } from './defaults.js';
import { queueXecOptions } from './options.js';

const token: ConstructorOption = {
  type: 'string',
  required: true,
  meaning: "Token of the room, the same as the other side's. Anyone who has it can join; only the key protects anything.",
};
const transferEncryptToken: ConstructorOption = {
  type: 'string',
  required: true,
  meaning: `The transfer key of the room: ${queueXecOptions.queueXecKey.allowed}.`,
};

/** Options of `queueXecSource` and `queueXecServer`, and those that both have. */
export const constructors: ConstructorTables = {
  queueXecSource: {
    token,
    transferEncryptToken,
    name: {
      type: 'string',
      default: `\`${DEFAULT_NAME}\``,
      meaning: 'Name of the source; a Worker in several rooms needs a distinct one for each.',
    },
    timeoutMs: {
      type: 'number',
      default: amount(DEFAULT_TIMEOUT_MS, 'ms'),
      meaning: 'Time limit of one run, since queue-xec has none; 0 is none.',
    },
  },
  queueXecServer: { token, transferEncryptToken },
  meeting: {
    listen: derivedFrom(queueXecOptions.queueXecListen, '{ readonly host?: string; readonly port?: number }'),
    peers: derivedFrom(queueXecOptions.queueXecPeers, 'readonly PeerAt[]'),
    lsd: derivedFrom(queueXecOptions.queueXecLsd, 'LsdOptions | false', {
      default: 'enabled',
      meaning: `${queueXecOptions.queueXecLsd.meaning} \`false\` disables it.`,
    }),
    dht: derivedFrom(queueXecOptions.queueXecDht, 'DhtOptions | false', {
      default: 'enabled, with the public nodes',
      meaning: `${queueXecOptions.queueXecDht.meaning} \`false\` disables it.`,
    }),
  },
};
