import { option } from '../../config/option.js';
import { anyText, everyPair, single, wholeNumber } from '../../config/values.js';
import { isRedisPlace } from '../../kit/redis-url.js';
import { withoutPassword } from '../../log.js';
import { DEFAULT_ATTEMPTS, DEFAULT_PREFIX } from './defaults.js';

/** Options of Workers that take tasks from worqr queues. */
export const worqrOptions = {
  worqrUrl: option<string, undefined>({
    flag: '--worqr-url <url>',
    env: 'PEERWORK_WORQR_URL',
    commands: ['worker'],
    meaning: 'Redis of the worqr queues to take tasks from, with its password if it has one; needs `--worqr-task`.',
    allowed: 'a redis://, rediss:// or redis+sentinel:// URL',
    default: undefined,
    show: withoutPassword,
    parse: single((text) => (isRedisPlace(text) ? text : undefined)),
  }),
  worqrTasks: option<readonly string[], undefined>({
    flag: '--worqr-task <queue=folder>',
    env: 'PEERWORK_WORQR_TASKS',
    commands: ['worker'],
    meaning: 'A worqr queue to serve, and the folder of the task that serves it.',
    allowed: 'a queue name, `=`, and a folder',
    default: undefined,
    many: true,
    parse: everyPair,
  }),
  worqrPrefix: option<string, undefined>({
    flag: '--worqr-prefix <text>',
    env: 'PEERWORK_WORQR_PREFIX',
    commands: ['worker'],
    meaning: 'Prefix of all worqr keys (its `redisKeyPrefix`).',
    allowed: 'letters, digits, `.` and `-`',
    default: undefined,
    defaultText: DEFAULT_PREFIX,
    parse: anyText,
  }),
  worqrAttempts: option<number, undefined>({
    flag: '--worqr-attempts <runs>',
    env: 'PEERWORK_WORQR_ATTEMPTS',
    commands: ['worker'],
    meaning: 'How many runs of a worqr task may fail or crash before it is finished with its error.',
    allowed: 'a whole number from 1 to 1000000',
    unit: 'runs',
    default: undefined,
    defaultText: String(DEFAULT_ATTEMPTS),
    parse: wholeNumber(1, 1_000_000),
  }),
} as const;
