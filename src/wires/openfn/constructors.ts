import { amount, type ConstructorTables, derivedFrom } from '../../config/constructor-option.js';
import { DEFAULT_BACKOFF_MS, DEFAULT_CLAIM_MS, DEFAULT_LOG_LIMIT_MB, DEFAULT_MESSAGE_MS, DEFAULT_RUN_MS } from './defaults.js';
import { openfnOptions } from './options.js';

/** Options of `openfnSource` and `openfnRunner`. */
export const constructors: ConstructorTables = {
  openfnSource: {
    url: {
      type: 'string',
      required: true,
      meaning: 'The Lightning server, such as `ws://localhost:4000/worker`; `/websocket` is appended.',
    },
    secret: derivedFrom(openfnOptions.openfnSecret, 'string', { meaning: 'Its WORKER_SECRET; only mock servers need none.' }),
    publicKey: derivedFrom(openfnOptions.openfnPublicKey, 'string', {
      meaning: `${openfnOptions.openfnPublicKey.meaning} Base64 of a PEM.`,
    }),
    workerName: derivedFrom(openfnOptions.openfnName, 'string', { default: 'none' }),
    capacity: derivedFrom(openfnOptions.openfnCapacity, 'number', { default: "the Worker's `concurrency`" }),
    workloops: derivedFrom(openfnOptions.openfnWorkloops, 'string', {
      default: "`manual>*`, with the Worker's `concurrency`",
      meaning: `${openfnOptions.openfnWorkloops.meaning} For example \`manual>*:5\`. Replaces \`capacity\`.`,
    }),
    backoffMs: derivedFrom(openfnOptions.openfnBackoff, 'readonly [first: number, last: number]', {
      default: `${DEFAULT_BACKOFF_MS.map((ms) => amount(ms)).join(' and ')} ms`,
      meaning: `${openfnOptions.openfnBackoff.meaning} It grows by a factor of 1.15.`,
    }),
    batchLogs: {
      type: '{ readonly lines?: number; readonly waitMs?: number }',
      default: 'each line is sent alone',
      meaning: `Send log lines in batches of \`lines\` (${openfnOptions.openfnBatchLines.defaultText}), or of those that arrive within \`waitMs\` (${openfnOptions.openfnBatchMs.defaultText}); the server must support it.`,
    },
    messageMs: derivedFrom(openfnOptions.openfnMessageSeconds, 'number', { default: amount(DEFAULT_MESSAGE_MS, 'ms') }),
    claimMs: derivedFrom(openfnOptions.openfnClaimSeconds, 'number', { default: amount(DEFAULT_CLAIM_MS, 'ms') }),
    payloadLimitMb: derivedFrom(openfnOptions.openfnPayloadMb, 'number'),
    logLimitMb: derivedFrom(openfnOptions.openfnLogPayloadMb, 'number', {
      default: `${amount(DEFAULT_LOG_LIMIT_MB, 'MB')}, or the run’s limit for a state if that is less`,
    }),
    sendFinalState: derivedFrom(openfnOptions.openfnFinalState, 'boolean'),
    collections: {
      type: '{ readonly url: string; readonly version: string }',
      default: 'none',
      meaning: "Collections for job code: the URL of the server's API for them, and the version of their adaptor.",
    },
    port: derivedFrom(openfnOptions.openfnPort, 'number', { meaning: 'Port for `GET /livez` and `POST /claim`.' }),
    host: { type: 'string', default: 'all addresses', meaning: 'Address of that port.' },
  },
  openfnRunner: {
    adaptors: derivedFrom(openfnOptions.openfnAdaptors, 'readonly string[]'),
    installAdaptors: derivedFrom(openfnOptions.openfnInstall, 'boolean'),
    adaptorFolder: derivedFrom(openfnOptions.openfnRepo, 'string', { default: "a folder in the Worker's `home`" }),
    adaptorMonorepo: derivedFrom(openfnOptions.openfnMonorepo, 'string'),
    memoryMb: derivedFrom(openfnOptions.openfnMemoryMb, 'number', { default: "the Worker's `memoryMb`" }),
    timeoutMs: derivedFrom(openfnOptions.openfnRunSeconds, 'number', { default: amount(DEFAULT_RUN_MS, 'ms') }),
    statePropsToRemove: derivedFrom(openfnOptions.openfnStatePropsToRemove, 'readonly string[]'),
  },
};
