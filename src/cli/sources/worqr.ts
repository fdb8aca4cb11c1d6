import { pairs } from '../../config/values.js';
import { PeerworkError } from '../../errors.js';
import { checkRedis } from '../health/check-redis.js';
import { given } from '../options.js';
import type { SourceCommand } from './source-command.js';

export const worqr: SourceCommand = {
  name: 'worqr',
  configured: ({ worqrUrl }) => worqrUrl !== undefined,
  questions: ['worqrUrl', 'worqrTasks'],
  async check({ worqrUrl = '' }, { signal }) {
    return [await checkRedis('worqr', worqrUrl, { variable: 'PEERWORK_WORQR_URL', signal })];
  },
  async setup({ worqrUrl: url = '', worqrTasks, worqrPrefix: prefix, worqrAttempts: attempts }) {
    const tasks = pairs(worqrTasks ?? []);
    if (worqrTasks === undefined || tasks === undefined)
      throw new PeerworkError('option-invalid', '--worqr-url needs at least one --worqr-task <queue=folder>');
    const { worqrSource } = await import('../../sources/worqr/worqr-source.js');
    return worqrSource({ url, tasks, ...given({ prefix, attempts }) });
  },
};
