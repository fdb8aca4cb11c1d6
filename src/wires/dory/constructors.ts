import { amount, type ConstructorOption, type ConstructorTables, derivedFrom } from '../../config/constructor-option.js';
import { DEFAULT_HEARTBEAT_PATH, DEFAULT_REDIS_HOST, DEFAULT_REDIS_PORT, DEFAULT_TIMING } from './defaults.js';
import { doryOptions } from './options.js';

const timing = (name: keyof typeof DEFAULT_TIMING, meaning: string): ConstructorOption => ({
  type: 'number',
  required: true,
  default: amount(DEFAULT_TIMING[name], 'ms'),
  meaning,
});

/** Options of `dorySource` and its timings. */
export const constructors: ConstructorTables = {
  dorySource: {
    apiBaseUrl: derivedFrom(doryOptions.doryApi, 'string', { default: 'from the stored credentials' }),
    apiKey: derivedFrom(doryOptions.doryKey, 'string', {
      default: 'from the stored credentials, including the new key of a later login',
      meaning: 'This Worker’s key for the dory-api, `dwk_…`.',
    }),
    credentialsFile: { type: 'string', default: '`~/.dory/credentials`', meaning: 'File of the stored credentials.' },
    redisUrl: derivedFrom(doryOptions.doryRedis, 'string', {
      default: `built from \`redis\`, else \`redis://${DEFAULT_REDIS_HOST}:${DEFAULT_REDIS_PORT}\``,
      meaning: 'URL of the Redis of the run queue, or `redis+sentinel://host,host/primary`.',
    }),
    redis: {
      type: '{ readonly host: string; readonly port: number; readonly password?: string }',
      default: 'none',
      meaning: 'The same Redis without a URL, if `redisUrl` is absent.',
    },
    queue: derivedFrom(doryOptions.doryQueue, 'string'),
    workerId: derivedFrom(doryOptions.doryWorkerId, 'string', { default: '`dory-worker-` and the process id' }),
    settings: {
      type: 'OperationalSettings',
      default: 'none',
      meaning: "This machine's [settings](#settings), used where the API sets nothing else.",
    },
    pinned: { type: 'boolean', default: '`false`', meaning: 'Ignore the settings that the API serves.' },
    heartbeatPath: { type: 'string', default: `\`${DEFAULT_HEARTBEAT_PATH}\``, meaning: 'Path of the heartbeat call.' },
    timing: { type: 'Partial<DoryTiming>', default: 'the protocol’s', meaning: 'Timings of the protocol; tests shorten them.' },
  },
  doryTiming: {
    beatMs: timing(
      'beatMs',
      'Interval of heartbeats; the API considers a Worker gone after 30 s without one. Runs to join are discovered at the same interval.',
    ),
    lockMs: timing('lockMs', "Duration of a BullMQ job's lock."),
    extendMs: timing('extendMs', 'Interval at which the lock is extended.'),
    stalledMs: timing('stalledMs', 'Interval of the check for jobs whose lock has expired.'),
    pollMs: timing('pollMs', 'Interval at which a coordinator checks for remaining helpers.'),
    staleMs: timing('staleMs', 'Age of its last heartbeat at which a helper counts as gone.'),
    waitGraceMs: timing(
      'waitGraceMs',
      "A coordinator waits for its helpers for the run's timeout plus this. For a helper without signs of life it waits only this long.",
    ),
    untimedWaitMs: timing('untimedWaitMs', 'How long a coordinator waits for the helpers of a run without a timeout.'),
  },
};
