import { PeerworkError } from '../../errors.js';
import { given } from '../options.js';
import type { SourceCommand } from './source-command.js';

export const worqr: SourceCommand = {
  name: 'worqr',
  configured: ({ worqrUrl }) => worqrUrl !== undefined,
  async setup({ worqrUrl: url = '', worqrTasks: tasks, worqrPrefix: prefix, worqrAttempts: attempts }) {
    if (tasks === undefined) throw new PeerworkError('option-invalid', '--worqr-url needs at least one --worqr-task <queue=folder>');
    const { worqrSource } = await import('../../sources/worqr/worqr-source.js');
    return worqrSource({ url, tasks, ...given({ prefix, attempts }) });
  },
};
