import type { ErrorEntry } from './entry.js';

/** How a run ended: these also appear as `error.code` of a failed outcome. */
export const runErrors = {
  'task-threw': { message: 'The task threw: {detail}', hint: 'Fix the task; the stack trace is in the job’s log.', status: 500 },
  'task-unloadable': {
    message: 'The task could not be loaded: {detail}',
    hint: 'Fix the task; the stack trace is in the job’s log.',
    status: 500,
  },
  'output-unsendable': {
    message: 'The task returned a value that cannot be serialised: {detail}',
    hint: 'Return plain JSON values.',
    status: 500,
  },
  'output-too-large': {
    message: 'The task’s output is larger than allowed: {detail}',
    hint: 'Return less, or store the data elsewhere and return its location.',
    status: 413,
  },
  timeout: {
    message: 'The job ran longer than allowed: {detail}',
    hint: 'Raise the job’s `timeoutMs`, or make the job shorter.',
    status: 504,
  },
  memory: {
    message: 'The job used more memory than allowed: {detail}',
    hint: 'Use less, or raise the worker’s memory limit (`--memory-mb`; for containers `--container-memory-mb` and the memory requested in task.json).',
    status: 507,
  },
  'scratch-too-large': {
    message: 'The job wrote more to disk than allowed: {detail}',
    hint: 'Write less, or raise the limit on the worker.',
    status: 507,
  },
  exited: { message: 'The task exited its process: {detail}', hint: 'Return from the task instead of calling process.exit.', status: 500 },
  crashed: { message: 'The task’s process was killed: {detail}', hint: 'Check the job’s log.', status: 500 },
  'network-denied': {
    message: 'The job may not reach this address: {detail}',
    hint: 'Request it with `network` in task.json; for addresses that are not public, the worker’s owner must also allow it with `--task-network`.',
    status: 403,
  },
  cancelled: { message: 'The job was cancelled', hint: 'No action needed.', status: 499 },
  'lease-expired': {
    message: 'The worker was not heard from before its lease expired',
    hint: 'No action needed; the job goes to another worker while it has attempts left.',
    status: 504,
  },
  'worker-lost': {
    message: 'The worker restarted and lost the job',
    hint: 'No action needed; the job goes to another worker while it has attempts left.',
    status: 503,
  },
  'runner-missing': {
    message: 'This worker cannot run jobs of this kind: {detail}',
    hint: 'Allow the runner on the worker, or route the job to another worker.',
    status: 501,
  },
  'parent-failed': {
    message: 'A parent job failed or was cancelled: {detail}',
    hint: 'Retry the parent; this job then waits for it again.',
    status: 424,
  },
  'parents-too-large': {
    message: 'The outputs of the job’s parents are too large to pass on: {detail}',
    hint: 'Have the parents store large data elsewhere and return its location.',
    status: 413,
  },
  'children-invalid': {
    message: 'The children requested by the run cannot be created: {detail}',
    hint: 'Fix the task, or declare the children it may create in its task.json; docs/jobs.md describes children.',
    status: 422,
  },
  'hold-too-long': {
    message: 'The run requested a longer hold than allowed: {detail}',
    hint: 'Hold for a shorter time and renew it; holds set through the API have no such limit.',
    status: 422,
  },
} as const satisfies Record<string, ErrorEntry>;
