/**
 * Every option of the command line, declared once: flag, environment variable, default, unit and meaning.
 * `.env.example` and `docs/configuration.md` are made from this table (`npm run generate`); a test compares them.
 */
import { anyText, every, isTrackerUrl, oneOf, type Retention, readRetention, single, wholeNumber, yesOrNo } from './config/values.js';
import { type LogLevel, logLevels, withoutPassword } from './log.js';

export type Command = 'setup' | 'worker' | 'master' | 'token' | 'tracker';

export interface OptionSpec<T, D extends T | undefined = T | undefined> {
  /** As commander reads it, such as `--name <text>`. A flag without an argument is yes, with `--no-` before it no. */
  readonly flag: string;
  /** Absent: a flag only. queue-xec's variables keep their names. */
  readonly env?: string;
  readonly commands: readonly Command[];
  readonly meaning: string;
  /** What may be written, in words; completes "must be …". */
  readonly allowed: string;
  readonly unit?: string;
  readonly default: D;
  /** What the default is, where it is not a plain value. */
  readonly defaultText?: string;
  /** Never shown, neither in errors nor in logs. */
  readonly secret?: boolean;
  /** What is shown of a value in an error, where a part of it is secret. */
  readonly show?: (text: string) => string;
  /** The flag may be given several times; in a variable the values are separated by blanks or commas. */
  readonly many?: boolean;
  /** undefined: not allowed. */
  readonly parse: (given: readonly string[]) => T | undefined;
}

const MAX_NAME_CHARS = 64;
const MAX_LABEL_CHARS = 64;
export const DEFAULT_MEMORY_MB = 512;
export const TRANSFER_TOKEN_CHARS = 32;

function option<T, const D extends T | undefined>(spec: OptionSpec<T, D>): OptionSpec<T, D> {
  return spec;
}

const approvals = ['auto', 'manual'] as const;
const sandboxes = ['auto', 'required', 'off'] as const;
const permissions = ['allow', 'deny'] as const;

export const optionTable = {
  token: option<string, undefined>({
    flag: '--token <pw1…>',
    env: 'token',
    commands: ['setup', 'worker'],
    meaning:
      'The token that the Master printed: whom to work for. Better kept in .env than given as a flag, which other users of the machine can read for a moment.',
    allowed: 'the whole line that begins with `pw1.`',
    default: undefined,
    secret: true,
    parse: anyText,
  }),
  name: option<string, undefined>({
    flag: '--name <text>',
    env: 'name',
    commands: ['setup', 'worker', 'master'],
    meaning: 'What this machine is called in lists and results.',
    allowed: `1 to ${MAX_NAME_CHARS} printable characters`,
    default: undefined,
    defaultText: 'the host name',
    parse: single((text) => (/^[^\p{Cc}]+$/u.test(text) && [...text].length <= MAX_NAME_CHARS ? text : undefined)),
  }),
  concurrency: option<number, undefined>({
    flag: '--concurrency <jobs>',
    env: 'PEERWORK_CONCURRENCY',
    commands: ['setup', 'worker'],
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
    commands: ['setup', 'worker'],
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
    commands: ['setup', 'worker'],
    meaning:
      "Whether the npm dependencies of a task may run install scripts. They run with this user's rights, outside the jobs' isolation.",
    allowed: 'yes or no',
    default: false,
    defaultText: 'no',
    parse: yesOrNo,
  }),
  transferEncryptToken: option<string, undefined>({
    flag: '--transfer-encrypt-token <text>',
    env: 'transferEncryptToken',
    commands: ['setup', 'worker', 'master'],
    meaning: 'An extra AES secret that Master and Workers must share, besides the token.',
    allowed: `exactly ${TRANSFER_TOKEN_CHARS} characters`,
    default: undefined,
    secret: true,
    parse: single((text) => (text.length === TRANSFER_TOKEN_CHARS ? text : undefined)),
  }),
  logLevel: option<LogLevel, 'info'>({
    flag: '--log-level <level>',
    env: 'LOG_LEVEL',
    commands: ['setup', 'worker', 'master', 'token', 'tracker'],
    meaning: 'How much is told.',
    allowed: `one of ${logLevels.join(', ')}`,
    default: 'info',
    parse: oneOf(logLevels),
  }),
  home: option<string, undefined>({
    flag: '--home <folder>',
    env: 'PEERWORK_HOME',
    commands: ['setup', 'worker'],
    meaning: 'Where the worker keeps its key, fetched files, dependencies and unsent results. Several workers may share it.',
    allowed: 'a folder',
    default: undefined,
    defaultText: '.peerwork',
    parse: anyText,
  }),
  sandbox: option<(typeof sandboxes)[number], 'auto'>({
    flag: '--sandbox <when>',
    env: 'PEERWORK_SANDBOX',
    commands: ['setup', 'worker'],
    meaning: 'The stronger sandbox (bubblewrap): used where it works, demanded (no job runs without it), or never used.',
    allowed: `one of ${sandboxes.join(', ')}`,
    default: 'auto',
    parse: oneOf(sandboxes),
  }),
  taskNetwork: option<(typeof permissions)[number], 'allow'>({
    flag: '--task-network <permission>',
    env: 'PEERWORK_TASK_NETWORK',
    commands: ['setup', 'worker'],
    meaning: 'Whether jobs may use the network; to deny it needs the stronger sandbox.',
    allowed: `one of ${permissions.join(', ')}`,
    default: 'allow',
    parse: oneOf(permissions),
  }),
  storeQuotaMb: option<number, undefined>({
    flag: '--store-quota-mb <MiB>',
    env: 'PEERWORK_STORE_QUOTA_MB',
    commands: ['setup', 'worker'],
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
    commands: ['setup', 'worker'],
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
    commands: ['setup', 'worker'],
    meaning: 'What jobs may require of this machine, such as `gpu`; `os=linux` and `arch=arm64` and the like are there by themselves.',
    allowed: `1 to ${MAX_LABEL_CHARS} printable characters each, without commas`,
    default: undefined,
    defaultText: 'none',
    many: true,
    parse: every((text) => /^[^\p{Cc},]+$/u.test(text) && text.length <= MAX_LABEL_CHARS),
  }),
  trackers: option<readonly string[], undefined>({
    flag: '--tracker <url>',
    env: 'PEERWORK_TRACKERS',
    commands: ['setup', 'worker', 'master', 'token'],
    meaning: 'Trackers to meet at. The Master writes those it is given into the token, so Workers need none of their own.',
    allowed: 'ws:// or wss:// URLs',
    default: undefined,
    defaultText: 'those of the token, else the public ones',
    many: true,
    parse: every(isTrackerUrl),
  }),
  ice: option<readonly string[], undefined>({
    flag: '--ice <url>',
    env: 'PEERWORK_ICE',
    commands: ['setup', 'worker', 'master', 'token'],
    meaning: 'STUN and TURN servers: `stun:host:port`, `turn:user:password@host:port?transport=udp|tcp`, `turns:user:password@host:port`.',
    allowed: 'stun:, turn: or turns: URLs',
    default: undefined,
    defaultText: 'those of the token, else public STUN',
    secret: true,
    many: true,
    parse: every((text) => /^(stun|turns?):[^\s,]+$/i.test(text)),
  }),
  task: option<readonly string[], undefined>({
    flag: '--task <folder>',
    commands: ['master'],
    meaning: 'The task to publish: a folder with task.js, task.mjs or task.cjs. `channel=folder` serves another channel than `default`.',
    allowed: 'a folder, or channel=folder',
    default: undefined,
    many: true,
    parse: every((text) => text !== ''),
  }),
  input: option<string, undefined>({
    flag: '--input <file>',
    commands: ['master'],
    meaning: 'Jobs to add, one JSON object a line; `-` reads stdin. Without it the Master serves until it is stopped.',
    allowed: 'a file, or -',
    default: undefined,
    parse: anyText,
  }),
  output: option<string, undefined>({
    flag: '--output <file>',
    commands: ['master'],
    meaning: 'Where outcomes are appended, one JSON object a line, each exactly once also across restarts.',
    allowed: 'a file',
    default: undefined,
    parse: anyText,
  }),
  ledger: option<string, 'sqlite:.peerwork/ledger.db'>({
    flag: '--ledger <url>',
    env: 'PEERWORK_LEDGER',
    commands: ['master', 'token'],
    meaning:
      'Where the Master remembers its jobs; its key lies beside it, or in .peerwork for Postgres. A password is better kept in the variable than given as a flag.',
    allowed: 'sqlite:FILE, postgres://USER:PASSWORD@HOST:PORT/DATABASE or memory:',
    default: 'sqlite:.peerwork/ledger.db',
    show: withoutPassword,
    parse: single((text) => (/^(sqlite:.+|postgres(ql)?:\/\/.+|memory:)$/.test(text) ? text : undefined)),
  }),
  keyFile: option<string, undefined>({
    flag: '--key-file <file>',
    env: 'PEERWORK_KEY_FILE',
    commands: ['master', 'token'],
    meaning: "The Master's private key and secret, mode 0600. Whoever has it is the Master.",
    allowed: 'a file',
    default: undefined,
    defaultText: 'beside the ledger',
    parse: anyText,
  }),
  leaseMs: option<number, undefined>({
    flag: '--lease-ms <ms>',
    env: 'PEERWORK_LEASE_MS',
    commands: ['master'],
    meaning: 'How long a worker may stay silent before its jobs are given to others.',
    allowed: 'a whole number from 1000 to 86400000',
    unit: 'milliseconds',
    default: undefined,
    defaultText: '30000',
    parse: wholeNumber(1000, 86_400_000),
  }),
  retain: option<Retention, undefined>({
    flag: '--retain <state=time>',
    env: 'PEERWORK_RETAIN',
    commands: ['master'],
    meaning: 'How long ended jobs are kept, such as `completed=7d`; in seconds, minutes, hours or days: `90s`, `15m`, `12h`, `7d`.',
    allowed: 'completed=, failed= or cancelled= with a time',
    default: undefined,
    defaultText: 'for ever',
    many: true,
    parse: readRetention,
  }),
  approval: option<(typeof approvals)[number], 'auto'>({
    flag: '--approval <how>',
    env: 'PEERWORK_APPROVAL',
    commands: ['master'],
    meaning: 'Whether a worker that was never seen may work at once, or when its owner has approved it.',
    allowed: `one of ${approvals.join(', ')}`,
    default: 'auto',
    parse: oneOf(approvals),
  }),
  watch: option<boolean, true>({
    flag: '--watch',
    commands: ['master'],
    meaning: 'Publish the task anew when a file of its folder changes.',
    allowed: 'yes or no',
    default: true,
    defaultText: 'yes',
    parse: yesOrNo,
  }),
  trackerHost: option<string, '0.0.0.0'>({
    flag: '--host <address>',
    env: 'PEERWORK_TRACKER_HOST',
    commands: ['tracker'],
    meaning: 'The address that the tracker listens on.',
    allowed: 'an address of this machine',
    default: '0.0.0.0',
    parse: anyText,
  }),
  trackerPort: option<number, 8000>({
    flag: '--port <number>',
    env: 'PEERWORK_TRACKER_PORT',
    commands: ['tracker'],
    meaning: 'The port that the tracker listens on; 0 takes a free one.',
    allowed: 'a whole number from 0 to 65535',
    default: 8000,
    parse: wholeNumber(0, 65_535),
  }),
} as const;

export type OptionName = keyof typeof optionTable;
export type Options = {
  readonly [K in OptionName]: (typeof optionTable)[K] extends OptionSpec<infer T, infer D> ? T | Extract<D, undefined> : never;
};

export const optionNames = Object.keys(optionTable) as readonly OptionName[];

export function optionsOf(command: Command): OptionName[] {
  return optionNames.filter((name) => optionSpec(name).commands.includes(command));
}

export function optionSpec(name: OptionName): OptionSpec<unknown> {
  return optionTable[name];
}

/** `--name` of `--name <text>`. */
export function longFlag(spec: OptionSpec<unknown>): string {
  return spec.flag.split(' ')[0] ?? spec.flag;
}
