import { isReservedLabel } from './labels.js';
import { option } from './option.js';
import { ALLOWED_NETWORK, anyText, every, networkWords, oneOf, wholeNumber, yesOrNo } from './values.js';

const MAX_LABEL_CHARS = 64;
const sandboxes = ['auto', 'required', 'off'] as const;
export const DEFAULT_MEMORY_MB = 512;

/** Options of Workers. */
export const workerOptions = {
  token: option<string, undefined>({
    flag: '--token <pw1…>',
    env: 'token',
    commands: ['worker'],
    meaning:
      'The token that the Master printed: whom to work for. Better kept in .env than given as a flag, which other users of the machine can read for a moment.',
    allowed: 'the whole line that begins with `pw1.`',
    default: undefined,
    secret: true,
    parse: anyText,
  }),
  concurrency: option<number, undefined>({
    flag: '--concurrency <jobs>',
    env: 'PEERWORK_CONCURRENCY',
    commands: ['worker'],
    meaning: 'How many jobs run at once.',
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
    meaning: 'How much memory one job may use before it is stopped.',
    allowed: 'a whole number from 32 to 1048576',
    unit: 'MiB',
    default: undefined,
    defaultText: '512',
    parse: wholeNumber(32, 1_048_576),
  }),
  allowInstallScripts: option<boolean, false>({
    flag: '--allow-install-scripts',
    env: 'PEERWORK_ALLOW_INSTALL_SCRIPTS',
    commands: ['worker'],
    meaning:
      'Whether the npm dependencies of a task may run install scripts. With bubblewrap they run behind a wall that holds the registry alone; without it they have the rights of this user.',
    allowed: 'yes or no',
    default: false,
    defaultText: 'no',
    parse: yesOrNo,
  }),
  home: option<string, undefined>({
    flag: '--home <folder>',
    env: 'PEERWORK_HOME',
    commands: ['worker', 'status', 'logs', 'restart', 'stop', 'update', 'uninstall'],
    meaning: 'Where the worker keeps its key, fetched files, dependencies and unsent results. Several workers may share it.',
    allowed: 'a folder',
    default: undefined,
    defaultText: '.peerwork',
    parse: anyText,
  }),
  sandbox: option<(typeof sandboxes)[number], 'auto'>({
    flag: '--sandbox <when>',
    env: 'PEERWORK_SANDBOX',
    commands: ['worker'],
    meaning: 'The stronger sandbox (bubblewrap): used where it works, demanded (no job runs without it), or never used.',
    allowed: `one of ${sandboxes.join(', ')}`,
    default: 'auto',
    parse: oneOf(sandboxes),
  }),
  bubblewrap: option<string, undefined>({
    flag: '--bubblewrap <path>',
    env: 'PEERWORK_BUBBLEWRAP',
    commands: ['worker'],
    meaning: 'Where bubblewrap is, if it is not where programs are.',
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
      'What jobs may reach at most: `none`; `internet`, which is public addresses only, never your own network; or hosts, which may be in your network if a task asks for them. Several add up. Less than `internet` needs the stronger sandbox.',
    allowed: ALLOWED_NETWORK,
    default: undefined,
    defaultText: 'internet',
    many: true,
    parse: networkWords,
  }),
  storeQuotaMb: option<number, undefined>({
    flag: '--store-quota-mb <MiB>',
    env: 'PEERWORK_STORE_QUOTA_MB',
    commands: ['worker'],
    meaning: 'How much disk the fetched files of tasks may take; what was not used for longest goes first.',
    allowed: 'a whole number from 16 to 1048576',
    unit: 'MiB',
    default: undefined,
    defaultText: '2048',
    parse: wholeNumber(16, 1_048_576),
  }),
  drainMs: option<number, undefined>({
    flag: '--drain-ms <ms>',
    env: 'PEERWORK_DRAIN_MS',
    commands: ['worker'],
    meaning: 'How long running jobs may go on after the first Ctrl-C before they are given back.',
    allowed: 'a whole number from 0 to 86400000',
    unit: 'milliseconds',
    default: undefined,
    defaultText: '60000',
    parse: wholeNumber(0, 86_400_000),
  }),
  labels: option<readonly string[], undefined>({
    flag: '--label <text>',
    env: 'PEERWORK_LABELS',
    commands: ['worker'],
    meaning:
      'What jobs may require of this machine, such as `gpu`; `os=linux`, `arch=arm64`, `isolation=bwrap` and the like are there by themselves.',
    allowed: `1 to ${MAX_LABEL_CHARS} printable characters each, without commas, and not beginning with os=, arch= or isolation=, which the Worker finds out by itself`,
    default: undefined,
    defaultText: 'none',
    many: true,
    parse: every((text) => /^[^\p{Cc},]+$/u.test(text) && text.length <= MAX_LABEL_CHARS && !isReservedLabel(text)),
  }),
} as const;
