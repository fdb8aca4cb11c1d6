import { pairs } from '../../config/values.js';
import { PeerworkError } from '../../errors.js';
import { omitUndefined } from '../../kit/omit.js';
import { requirePackages } from '../../kit/optional-package.js';
import { checkRedis } from '../health/check-redis.js';
import type { Wire } from '../wire.js';
import { WorqrError } from './errors.js';
import { worqrOptions } from './options.js';

export const worqr: Wire<typeof worqrOptions> = {
  name: 'worqr',
  summary: 'worqr queues on Redis, alongside worqr’s own workers; and a producer for them',
  options: worqrOptions,
  errors: WorqrError,
  configured: ({ worqrUrl }) => worqrUrl !== undefined,
  questions: ['worqrUrl', 'worqrTasks'],
  ready: () => requirePackages('ioredis'),
  async check({ worqrUrl = '' }, { signal }) {
    return [await checkRedis('worqr', worqrUrl, { variable: 'PEERWORK_WORQR_URL', signal })];
  },
  async setup({ worqrUrl: url = '', worqrTasks, worqrPrefix: prefix, worqrAttempts: attempts }) {
    const tasks = pairs(worqrTasks ?? []);
    if (worqrTasks === undefined || tasks === undefined)
      throw new PeerworkError('option-invalid', '--worqr-url needs at least one --worqr-task <queue=folder>');
    await requirePackages('ioredis');
    const { worqrSource } = await import('./source/worqr-source.js');
    return worqrSource({ url, tasks, ...omitUndefined({ prefix, attempts }) });
  },
};
