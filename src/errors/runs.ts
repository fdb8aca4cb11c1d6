import type { ErrorEntry } from './entry.js';

/** How a run ended: these also appear as `error.code` of a failed outcome. */
export const runErrors = {
  'task-threw': { message: 'The task threw: {detail}', todo: 'Correct the task; the stack is in the log of the job.', status: 500 },
  'task-unloadable': {
    message: 'The task could not be loaded: {detail}',
    todo: 'Correct the task; the stack is in the log of the job.',
    status: 500,
  },
  'output-unsendable': {
    message: 'The task returned something that cannot be sent: {detail}',
    todo: 'Return plain JSON values.',
    status: 500,
  },
  'output-too-large': {
    message: 'The task returned more than allowed: {detail}',
    todo: 'Return less, or store it elsewhere and return where.',
    status: 413,
  },
  timeout: { message: 'The job ran longer than allowed: {detail}', todo: 'Raise `timeoutMs` of the job, or make it shorter.', status: 504 },
  memory: {
    message: 'The job used more memory than allowed: {detail}',
    todo: 'Use less, or raise the memory of a job on the worker: `--memory-mb`, for containers `--container-memory-mb`, and what task.json asks for.',
    status: 507,
  },
  'scratch-too-large': {
    message: 'The job wrote more files than allowed: {detail}',
    todo: 'Write less, or raise the limit on the worker.',
    status: 507,
  },
  exited: { message: 'The task ended its process: {detail}', todo: 'Return from the task instead of calling process.exit.', status: 500 },
  crashed: { message: 'The process of the task was killed: {detail}', todo: 'Look into the log of the job.', status: 500 },
  'network-denied': {
    message: 'The job may not reach this address: {detail}',
    todo: 'Ask for it with `network` in task.json; addresses that are not public the owner of the worker must allow as well, by `--task-network`.',
    status: 403,
  },
  cancelled: { message: 'The job was cancelled', todo: 'Nothing.', status: 499 },
  'lease-expired': {
    message: 'The worker was not heard of until its lease ended',
    todo: 'Nothing: the job is given to another worker while it has attempts left.',
    status: 504,
  },
  'worker-lost': {
    message: 'The worker restarted and forgot the job',
    todo: 'Nothing: the job is given to another worker while it has attempts left.',
    status: 503,
  },
  'runner-missing': {
    message: 'This worker cannot run jobs of this kind: {detail}',
    todo: 'Allow the runner on the worker, or give the job to another.',
    status: 501,
  },
  'parent-failed': {
    message: 'A job that it needs has failed or was cancelled: {detail}',
    todo: 'Retry that job: this one then waits for it again.',
    status: 424,
  },
  'parents-too-large': {
    message: 'The outputs of its parents are too large to be handed over: {detail}',
    todo: 'Let the parents store what is large elsewhere, and give back where.',
    status: 413,
  },
  'children-invalid': {
    message: 'The children that the run asked for cannot be created: {detail}',
    todo: 'Correct the task, or declare in its task.json what its children may be; docs/jobs.md describes children.',
    status: 422,
  },
  'hold-too-long': {
    message: 'The run asked for more time than it may: {detail}',
    todo: 'Hold for less, and again when that is over; what the owner holds with the API has no such limit.',
    status: 422,
  },
} as const satisfies Record<string, ErrorEntry>;
