import {
  DEFAULT_DRAIN_MS,
  DEFAULT_FILE_QUOTA_MB,
  DEFAULT_HOME,
  DEFAULT_MEMORY_MB,
  DEFAULT_NETWORK,
  DEFAULT_SANDBOX,
  DEFAULT_STORE_QUOTA_MB,
} from './defaults.js';
import { option } from './option.js';
import { ALLOWED_NETWORK, anyText, every, networkWords, oneOf, wholeNumber, yesOrNo } from './values.js';

/** Labels that the Worker sets itself: if owners could set them, they might claim a sandbox that does not exist. */
const RESERVED = /^\s*(?:os|arch|isolation)\s*=/i;

const MAX_LABEL_CHARS = 64;
const sandboxes = ['auto', 'required', 'off'] as const;

/** Options of Workers. */
export const workerOptions = {
  token: option<string, undefined>({
    flag: '--token <pw1…>',
    env: 'token',
    commands: ['worker'],
    meaning:
      'The token printed by the Master to work for. Prefer .env to the flag, which other users of the machine can read for a moment.',
    allowed: 'the whole line that starts with `pw1.`',
    default: undefined,
    secret: true,
    parse: anyText,
  }),
  concurrency: option<number, undefined>({
    flag: '--concurrency <jobs>',
    env: 'PEERWORK_CONCURRENCY',
    commands: ['worker'],
    meaning: 'Number of jobs to run at once.',
    allowed: 'a whole number from 1 to 1024',
    unit: 'jobs',
    default: undefined,
    defaultText: 'one per processor core',
    parse: wholeNumber(1, 1024),
  }),
  memoryMb: option<number, undefined>({
    flag: '--memory-mb <MiB>',
    env: 'PEERWORK_MEMORY_MB',
    commands: ['worker'],
    meaning: 'Memory limit of one job; a job that exceeds it is stopped.',
    allowed: 'a whole number from 32 to 1048576',
    unit: 'MiB',
    default: undefined,
    defaultText: String(DEFAULT_MEMORY_MB),
    parse: wholeNumber(32, 1_048_576),
  }),
  allowInstallScripts: option<boolean, false>({
    flag: '--allow-install-scripts',
    env: 'PEERWORK_ALLOW_INSTALL_SCRIPTS',
    commands: ['worker'],
    meaning:
      'Allow npm dependencies of tasks to run install scripts. With bubblewrap they run in a sandbox that can reach only the registry; without it they run with this user’s permissions.',
    allowed: 'yes or no',
    default: false,
    defaultText: 'no',
    parse: yesOrNo,
  }),
  home: option<string, undefined>({
    flag: '--home <folder>',
    env: 'PEERWORK_HOME',
    commands: ['worker', 'status', 'logs', 'restart', 'stop', 'update', 'uninstall'],
    meaning: 'Folder for the worker’s key, fetched files, dependencies and unsent results. Several workers may share it.',
    allowed: 'a folder',
    default: undefined,
    defaultText: DEFAULT_HOME,
    parse: anyText,
  }),
  sandbox: option<(typeof sandboxes)[number], typeof DEFAULT_SANDBOX>({
    flag: '--sandbox <when>',
    env: 'PEERWORK_SANDBOX',
    commands: ['worker'],
    meaning: 'Use of the stronger sandbox, bubblewrap: `auto` where it works, `required` (no job runs without it), or `off`.',
    allowed: `one of ${sandboxes.join(', ')}`,
    default: DEFAULT_SANDBOX,
    parse: oneOf(sandboxes),
  }),
  bubblewrap: option<string, undefined>({
    flag: '--bubblewrap <path>',
    env: 'PEERWORK_BUBBLEWRAP',
    commands: ['worker'],
    meaning: 'Path of bubblewrap, if it is not on the PATH.',
    allowed: 'a path',
    default: undefined,
    defaultText: '`bwrap` on the PATH',
    parse: anyText,
  }),
  taskNetwork: option<readonly string[], undefined>({
    flag: '--task-network <what>',
    env: 'PEERWORK_TASK_NETWORK',
    commands: ['worker'],
    meaning:
      'Network that jobs may reach: `none`; `internet`, which means public addresses only, never your own network; or hosts, which may be in your network, for tasks that request them. Repeat to combine. Anything less than `internet` needs the stronger sandbox.',
    allowed: ALLOWED_NETWORK,
    default: undefined,
    defaultText: DEFAULT_NETWORK,
    many: true,
    parse: networkWords,
  }),
  storeQuotaMb: option<number, undefined>({
    flag: '--store-quota-mb <MiB>',
    env: 'PEERWORK_STORE_QUOTA_MB',
    commands: ['worker'],
    meaning: 'Disk quota for fetched task files; the least recently used are removed first.',
    allowed: 'a whole number from 16 to 1048576',
    unit: 'MiB',
    default: undefined,
    defaultText: String(DEFAULT_STORE_QUOTA_MB),
    parse: wholeNumber(16, 1_048_576),
  }),
  fileQuotaMb: option<number, undefined>({
    flag: '--file-quota-mb <MiB>',
    env: 'PEERWORK_FILE_QUOTA_MB',
    commands: ['worker'],
    meaning: 'Disk quota for files of jobs; the least recently used are removed first.',
    allowed: 'a whole number from 16 to 1073741824',
    unit: 'MiB',
    default: undefined,
    defaultText: String(DEFAULT_FILE_QUOTA_MB),
    parse: wholeNumber(16, 1_073_741_824),
  }),
  drainMs: option<number, undefined>({
    flag: '--drain-ms <ms>',
    env: 'PEERWORK_DRAIN_MS',
    commands: ['worker'],
    meaning: 'How long running jobs may continue after the first Ctrl-C before they are given back.',
    allowed: 'a whole number from 0 to 86400000',
    unit: 'milliseconds',
    default: undefined,
    defaultText: String(DEFAULT_DRAIN_MS),
    parse: wholeNumber(0, 86_400_000),
  }),
  labels: option<readonly string[], undefined>({
    flag: '--label <text>',
    env: 'PEERWORK_LABELS',
    commands: ['worker'],
    meaning:
      'Labels that jobs may require, such as `gpu`; labels such as `os=linux`, `arch=arm64` and `isolation=bwrap` are set automatically.',
    allowed: `1 to ${MAX_LABEL_CHARS} printable characters each, without commas, and not starting with os=, arch= or isolation=, which the Worker sets itself`,
    default: undefined,
    defaultText: 'none',
    many: true,
    parse: every((text) => /^[^\p{Cc},]+$/u.test(text) && text.length <= MAX_LABEL_CHARS && !isReservedLabel(text)),
  }),
} as const;

/** Whether only the Worker itself may set this label. */
export function isReservedLabel(label: string): boolean {
  return RESERVED.test(label);
}
