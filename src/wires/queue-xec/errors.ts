import { declareErrors } from '../../errors.js';

/** Errors of queue-xec rooms, both as a Worker in one and as the Master of one. */
export const QueueXecError = declareErrors({
  'queue-xec-absent': {
    message: 'No queue-xec Master is in the room',
    hint: 'Start the Master, check that both sides have the same token, or set its address with `--queue-xec-peer`.',
    status: 503,
  },
  'queue-xec-key': {
    message: 'A queue-xec peer uses a different transfer key: {detail}',
    hint: 'Give both sides the same `transferEncryptToken` of 32 characters.',
    status: 401,
  },
  'queue-xec-clock': {
    message: 'The clocks of this machine and of a queue-xec peer are too far apart: {detail}',
    hint: 'Set the clock; beyond five minutes queue-xec silently drops every message.',
    status: 400,
  },
  'queue-xec-assets': {
    message: 'The files of the queue-xec Master cannot be used: {detail}',
    hint: "Fix the Master's `execAssets`: one file named task.js, text files only, paths below one folder.",
    status: 400,
  },
  'queue-xec-task': {
    message: 'No task that a queue-xec Worker can run: {detail}',
    hint: 'Publish a task module for the channel they serve; they run neither containers nor crawls.',
    status: 400,
  },
  'queue-xec-listen': {
    message: 'The queue-xec room cannot listen there: {detail}',
    hint: 'Choose another `--queue-xec-listen`, or stop the process that is listening there.',
    status: 500,
  },
});
