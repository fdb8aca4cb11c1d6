import { hostname } from 'node:os';
import { PeerworkError } from '../../errors.js';
import { withoutPassword } from '../../log.js';
import { checkWebSocket } from '../health/check-websocket.js';
import { given } from '../options.js';
import type { SourceCommand } from './source-command.js';

export const openfn: SourceCommand = {
  name: 'openfn',
  configured: ({ openfnUrl }) => openfnUrl !== undefined,
  questions: ['openfnUrl', 'openfnSecret'],
  async check({ openfnUrl: url = '', openfnSecret: secret = '' }, { signal }) {
    const { workerAddress } = await import('../../sources/openfn/openfn-source.js');
    const address = workerAddress({ url, secret }, `health-${hostname()}`, Date.now());
    const login = 'Give WORKER_SECRET the value that Lightning has.';
    return [
      await checkWebSocket('openfn', address, { shown: withoutPassword(url), variable: 'WORKER_LIGHTNING_SERVICE_URL', signal, login }),
    ];
  },
  async setup(options) {
    const { openfnUrl: url = '', openfnSecret: secret } = options;
    // A mock server asks for none.
    if (secret === undefined && !/:8888\/worker$/.test(url)) throw new PeerworkError('option-invalid', 'WORKER_SECRET is missing');
    const { openfnSource } = await import('../../sources/openfn/openfn-source.js');
    const { openfnMessageSeconds: message, openfnClaimSeconds: claim, openfnCollectionsUrl: collections } = options;
    return openfnSource({
      url,
      sendFinalState: options.openfnFinalState,
      ...given({
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
        batchLogs: options.openfnBatchLogs ? given({ lines: options.openfnBatchLines, waitMs: options.openfnBatchMs }) : undefined,
        collections: collections === undefined ? undefined : { url: collections, version: options.openfnCollectionsVersion ?? 'latest' },
      }),
    });
  },
};
