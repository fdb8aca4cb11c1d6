import type { ErrorEntry } from './entry.js';

/** Tasks, their files and dependencies. */
export const taskErrors = {
  'task-folder-missing': {
    message: 'The task folder cannot be read: {detail}',
    hint: 'Point `--task` at a folder that contains task.js or task.mjs.',
    status: 400,
  },
  'task-entry-missing': {
    message: 'The task has no task.js, task.mjs, task.cjs or task.json: {detail}',
    hint: 'Add one that exports a function or a class with `run(job)`, or a task.json for another runner.',
    status: 400,
  },
  'task-settings-invalid': {
    message: 'The task’s settings are invalid: {detail}',
    hint: 'Fix task.json; the runner’s page in docs lists its fields.',
    status: 400,
  },
  'task-unknown': {
    message: 'No task serves this channel: {detail}',
    hint: 'Publish a task for the channel, or fix the job.',
    status: 404,
  },
  'asset-path-unsafe': {
    message: 'The path of a task file is not allowed: {detail}',
    hint: 'Use relative paths inside the task folder, no symbolic links, and no two paths that differ only in case.',
    status: 400,
  },
  'asset-too-large': {
    message: 'The task is larger than allowed: {detail}',
    hint: 'Make the task smaller, or raise the limit on the worker.',
    status: 413,
  },
  'asset-hash-mismatch': {
    message: 'A file’s content does not match its announced hash: {detail}',
    hint: 'No action needed; the file was discarded and is fetched again.',
    status: 502,
  },
  'asset-unknown': {
    message: 'The peer does not have this file: {detail}',
    hint: 'No action needed; the task has changed in the meantime and is fetched again.',
    status: 404,
  },
  'manifest-invalid': {
    message: 'The task manifest is invalid: {detail}',
    hint: 'Check that both sides run a compatible version of peerwork.',
    status: 400,
  },
  'manifest-unsigned': {
    message: 'The task manifest is not signed by the Master',
    hint: 'Do not trust this peer; the task was refused.',
    status: 401,
  },
  'manifest-older': {
    message: 'The task manifest is older than one seen before',
    hint: 'Publish the task on the Master again.',
    status: 409,
  },
  'dependencies-refused': {
    message: 'The task’s dependencies are not allowed: {detail}',
    hint: 'Use only packages from a registry, then delete package-lock.json and run `npm install` in the task folder to recreate it.',
    status: 400,
  },
  'dependencies-failed': {
    message: 'The task’s dependencies could not be installed: {detail}',
    hint: 'Run `npm ci --ignore-scripts` in the task folder to see the cause.',
    status: 500,
  },
  'dependencies-unlocked': {
    message: 'The task has dependencies, but no lockfile could be created: {detail}',
    hint: 'Run `npm install` in the task folder to create its package-lock.json.',
    status: 400,
  },
  'disk-full': { message: 'The disk is full: {detail}', hint: 'Free some space, or lower the quota.', status: 507 },
} as const satisfies Record<string, ErrorEntry>;
