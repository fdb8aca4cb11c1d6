import type { ErrorEntry } from './entry.js';

/** queue-xec rooms: as a Worker of theirs, and as a Master for their Workers. */
export const queueXecErrors = {
  'queue-xec-absent': {
    message: 'No queue-xec Master is in the room',
    todo: 'Start the Master, check that both sides have the same token, or name its address with `--queue-xec-peer`.',
    status: 503,
  },
  'queue-xec-key': {
    message: 'A queue-xec peer uses another transfer key: {detail}',
    todo: 'Give both sides the same `transferEncryptToken` of 32 characters.',
    status: 401,
  },
  'queue-xec-clock': {
    message: 'The clocks of this machine and of a queue-xec peer are too far apart: {detail}',
    todo: 'Set the clock right; beyond five minutes queue-xec drops every message without a word.',
    status: 400,
  },
  'queue-xec-assets': {
    message: 'The files of the queue-xec Master cannot be used: {detail}',
    todo: "Correct the Master's `execAssets`: one file named task.js, text files only, paths below one folder.",
    status: 400,
  },
  'queue-xec-task': {
    message: 'There is no task that a queue-xec Worker could do: {detail}',
    todo: 'Publish a task module for the channel that they serve; they run neither containers nor crawls.',
    status: 400,
  },
  'queue-xec-listen': {
    message: 'The queue-xec room cannot listen there: {detail}',
    todo: 'Choose another `--queue-xec-listen`, or stop what listens there.',
    status: 500,
  },
} as const satisfies Record<string, ErrorEntry>;
