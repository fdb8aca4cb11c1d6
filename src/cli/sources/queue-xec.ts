import { queueXecRoom } from '../queue-xec-room.js';
import type { SourceCommand } from './source-command.js';

/** Jobs of a queue-xec 2 Master. */
export const queueXecCommand: SourceCommand = {
  name: 'queue-xec',
  configured: ({ queueXecToken }) => queueXecToken !== undefined,
  questions: ['queueXecToken', 'queueXecKey'],
  async setup(options) {
    const room = queueXecRoom(options);
    const { queueXecSource } = await import('../../sources/queue-xec/setup.js');
    return queueXecSource(room);
  },
};
