import type { ErrorEntry } from './entry.js';

/** Tasks, their files and dependencies. */
export const taskErrors = {
  'task-folder-missing': {
    message: 'The task folder cannot be read: {detail}',
    todo: 'Give `--task` a folder that holds task.js or task.mjs.',
    status: 400,
  },
  'task-entry-missing': {
    message: 'The task has no task.js, task.mjs, task.cjs or task.json: {detail}',
    todo: 'Add one that exports a function or a class with `run(job)`, or a task.json for another runner.',
    status: 400,
  },
  'task-settings-invalid': {
    message: 'The settings of the task cannot be used: {detail}',
    todo: 'Correct task.json; the page of its runner in docs says what it may hold.',
    status: 400,
  },
  'task-unknown': {
    message: 'No task serves this channel: {detail}',
    todo: 'Publish a task for the channel, or correct the job.',
    status: 404,
  },
  'asset-path-unsafe': {
    message: 'A file of the task has a path that is not allowed: {detail}',
    todo: 'Use relative paths inside the task folder, without links, and no two that differ only in case.',
    status: 400,
  },
  'asset-too-large': {
    message: 'The task is larger than allowed: {detail}',
    todo: 'Make the task smaller, or raise the limit on the worker.',
    status: 413,
  },
  'asset-hash-mismatch': {
    message: 'A file arrived with other content than announced: {detail}',
    todo: 'Nothing: the file was thrown away and is fetched again.',
    status: 502,
  },
  'asset-unknown': {
    message: 'The peer does not have this file: {detail}',
    todo: 'Nothing: the task has changed meanwhile and is fetched anew.',
    status: 404,
  },
  'manifest-invalid': {
    message: 'The task description cannot be used: {detail}',
    todo: 'Check that both sides run a compatible version of peerwork.',
    status: 400,
  },
  'manifest-unsigned': {
    message: 'The task description is not signed by the Master',
    todo: 'Do not trust this peer; the task was refused.',
    status: 401,
  },
  'manifest-older': {
    message: 'The task description is older than one seen before',
    todo: 'Publish the task again on the Master.',
    status: 409,
  },
  'dependencies-refused': {
    message: 'The dependencies of the task are not let in: {detail}',
    todo: 'Use packages of a registry only, then remove package-lock.json and run `npm install` in the task folder to make it anew.',
    status: 400,
  },
  'dependencies-failed': {
    message: 'The dependencies of the task could not be installed: {detail}',
    todo: 'Run `npm ci --ignore-scripts` in the task folder to see why.',
    status: 500,
  },
  'dependencies-unlocked': {
    message: 'The task has dependencies but no lockfile could be made: {detail}',
    todo: 'Run `npm install` in the task folder, so that it has a package-lock.json.',
    status: 400,
  },
  'disk-full': { message: 'The disk is full: {detail}', todo: 'Free some space, or lower the quota.', status: 507 },
} as const satisfies Record<string, ErrorEntry>;
