import { PeerworkError } from '../../errors.js';
import { given } from '../options.js';
import type { SourceCommand } from './source-command.js';

export const openfn: SourceCommand = {
  name: 'openfn',
  configured: ({ openfnUrl }) => openfnUrl !== undefined,
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
