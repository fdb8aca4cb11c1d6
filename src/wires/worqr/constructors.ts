import { amount, type ConstructorTables, derivedFrom } from '../../config/constructor-option.js';
import {
  DEFAULT_BACKOFF_MS,
  DEFAULT_DATA,
  DEFAULT_NAME,
  DEFAULT_POLL_MS,
  DEFAULT_SWEEP_MS,
  DEFAULT_WORKER_TIMEOUT_MS,
} from './defaults.js';
import { worqrOptions } from './options.js';

/** Options of `worqrSource`. */
export const constructors: ConstructorTables = {
  worqrSource: {
    url: {
      type: 'string',
      required: true,
      meaning:
        'Redis of the queues: `redis://`, `rediss://` or `redis+sentinel://host,host/primary`, with user, password and database number where needed.',
    },
    prefix: derivedFrom(worqrOptions.worqrPrefix, 'string'),
    tasks: {
      type: 'Readonly<Record<string, string | ExecAssets>>',
      required: true,
      meaning: 'Task code by queue: a folder, or an `execAssets` object.',
    },
    name: {
      type: 'string',
      default: `\`${DEFAULT_NAME}\``,
      meaning: 'Name of the source; a Worker with several worqr sources needs a distinct one for each.',
    },
    data: {
      type: 'WorqrData',
      default: `\`${DEFAULT_DATA}\``,
      meaning: '`json` parses a task that is a JSON object or array and keeps other text as it is; `text` always keeps the text.',
    },
    attempts: derivedFrom(worqrOptions.worqrAttempts, 'number'),
    backoffMs: {
      type: 'number',
      default: amount(DEFAULT_BACKOFF_MS, 'ms'),
      meaning: 'Delay after the first failed run; doubles with each further one.',
    },
    timeoutMs: { type: 'number', default: 'none', meaning: 'Time limit of one run; 0 is none.' },
    workerTimeoutMs: {
      type: 'number',
      default: amount(DEFAULT_WORKER_TIMEOUT_MS, 'ms'),
      meaning: 'Time since its last beat after which peers consider this Worker dead.',
    },
    sweepMs: { type: 'number', default: amount(DEFAULT_SWEEP_MS, 'ms'), meaning: 'Interval of the check for dead workers.' },
    pollMs: { type: 'number', default: amount(DEFAULT_POLL_MS, 'ms'), meaning: 'Polling interval of an idle Worker.' },
  },
};
