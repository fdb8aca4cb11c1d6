import { isRedisPlace } from '../kit/redis-url.js';
import { withoutPassword } from '../log.js';
import { option } from './option.js';
import { anyText, everyPair, single, wholeNumber } from './values.js';

/** Options of Workers that take tasks from worqr queues. */
export const worqrOptions = {
  worqrUrl: option<string, undefined>({
    flag: '--worqr-url <url>',
    env: 'PEERWORK_WORQR_URL',
    commands: ['worker'],
    meaning: 'The Redis of worqr queues that this worker takes tasks from, with its password if it has one; needs `--worqr-task`.',
    allowed: 'a redis://, rediss:// or redis+sentinel:// URL',
    default: undefined,
    show: withoutPassword,
    parse: single((text) => (isRedisPlace(text) ? text : undefined)),
  }),
  worqrTasks: option<readonly string[], undefined>({
    flag: '--worqr-task <queue=folder>',
    env: 'PEERWORK_WORQR_TASKS',
    commands: ['worker'],
    meaning: 'A worqr queue that is served, and the folder with the task that does it.',
    allowed: 'the name of a queue, `=`, and a folder',
    default: undefined,
    many: true,
    parse: everyPair,
  }),
  worqrPrefix: option<string, undefined>({
    flag: '--worqr-prefix <text>',
    env: 'PEERWORK_WORQR_PREFIX',
    commands: ['worker'],
    meaning: 'What all keys of worqr begin with (its `redisKeyPrefix`).',
    allowed: 'letters, digits, `.` and `-`',
    default: undefined,
    defaultText: 'worqr',
    parse: anyText,
  }),
  worqrAttempts: option<number, undefined>({
    flag: '--worqr-attempts <runs>',
    env: 'PEERWORK_WORQR_ATTEMPTS',
    commands: ['worker'],
    meaning: 'How many runs of a worqr task may fail or die before it is finished with its error.',
    allowed: 'a whole number from 1 to 1000000',
    unit: 'runs',
    default: undefined,
    defaultText: '3',
    parse: wholeNumber(1, 1_000_000),
  }),
} as const;
