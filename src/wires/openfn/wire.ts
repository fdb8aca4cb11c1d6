import { hostname } from 'node:os';
import { PeerworkError } from '../../errors.js';
import { omitUndefined } from '../../kit/omit.js';
import { withoutPassword } from '../../log.js';
import { checkWebSocket } from '../health/check-websocket.js';
import type { Wire } from '../wire.js';
import { LightningError } from './errors.js';
import { openfnOptions } from './options.js';

export const openfn: Wire<typeof openfnOptions> = {
  name: 'openfn',
  summary: 'runs of an OpenFn Lightning server, on OpenFn’s engine',
  options: openfnOptions,
  errors: LightningError,
  configured: ({ openfnUrl }) => openfnUrl !== undefined,
  questions: ['openfnUrl', 'openfnSecret'],
  async check({ openfnUrl: url = '', openfnSecret: secret = '' }, { signal }) {
    const { workerAddress } = await import('./source/openfn-source.js');
    const address = workerAddress({ url, secret }, `health-${hostname()}`, Date.now());
    const login = 'Give WORKER_SECRET the value that Lightning has.';
    return [
      await checkWebSocket('openfn', address, { shown: withoutPassword(url), variable: 'WORKER_LIGHTNING_SERVICE_URL', signal, login }),
    ];
  },
  async setup(options) {
    const { openfnUrl: url = '', openfnSecret: secret } = options;
    // A mock server needs no secret.
    if (secret === undefined && !/:8888\/worker$/.test(url)) throw new PeerworkError('option-invalid', 'WORKER_SECRET is missing');
    const { openfnSource } = await import('./source/openfn-source.js');
    const { openfnMessageSeconds: message, openfnClaimSeconds: claim, openfnCollectionsUrl: collections } = options;
    return openfnSource({
      url,
      sendFinalState: options.openfnFinalState,
      ...omitUndefined({
        secret,
        publicKey: options.openfnPublicKey,
        workerName: options.openfnName,
        capacity: options.openfnCapacity,
        workloops: options.openfnWorkloops,
        backoffMs: options.openfnBackoff,
        messageMs: message && message * 1_000,
        claimMs: claim && claim * 1_000,
        payloadLimitMb: options.openfnPayloadMb,
        logLimitMb: options.openfnLogPayloadMb,
        port: options.openfnPort,
        batchLogs: options.openfnBatchLogs ? omitUndefined({ lines: options.openfnBatchLines, waitMs: options.openfnBatchMs }) : undefined,
        collections: collections === undefined ? undefined : { url: collections, version: options.openfnCollectionsVersion ?? 'latest' },
      }),
    });
  },
  runner: {
    kind: 'openfn',
    // The engine takes memory from the start, so it is only loaded if a server is configured.
    wanted: ({ openfnUrl }) => openfnUrl !== undefined,
    async setup(options) {
      const { openfnRunner } = await import('./runner/openfn-runner.js');
      const { openfnRunSeconds: seconds } = options;
      return openfnRunner({
        installAdaptors: options.openfnInstall,
        ...omitUndefined({
          adaptors: options.openfnAdaptors,
          adaptorFolder: options.openfnRepo,
          adaptorMonorepo: options.openfnMonorepo,
          memoryMb: options.openfnMemoryMb,
          timeoutMs: seconds && seconds * 1_000,
          statePropsToRemove: options.openfnStatePropsToRemove,
        }),
      });
    },
  },
};
