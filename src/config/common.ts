import { type LogLevel, logLevels } from '../log.js';
import { option } from './option.js';
import { every, isTrackerUrl, oneOf, single, yesOrNo } from './values.js';

const MAX_NAME_CHARS = 64;
const TRANSFER_TOKEN_CHARS = 32;

/** Options shared by Workers and Masters. */
export const commonOptions = {
  name: option<string, undefined>({
    flag: '--name <text>',
    env: 'name',
    commands: ['worker', 'master'],
    meaning: 'Name of this machine in lists and results.',
    allowed: `1 to ${MAX_NAME_CHARS} printable characters`,
    default: undefined,
    defaultText: 'the host name',
    parse: single((text) => (/^[^\p{Cc}]+$/u.test(text) && [...text].length <= MAX_NAME_CHARS ? text : undefined)),
  }),
  transferEncryptToken: option<string, undefined>({
    flag: '--transfer-encrypt-token <text>',
    env: 'transferEncryptToken',
    commands: ['worker', 'master'],
    meaning: 'Additional AES secret shared by the Master and its Workers, on top of the token.',
    allowed: `exactly ${TRANSFER_TOKEN_CHARS} characters`,
    default: undefined,
    secret: true,
    parse: single((text) => (text.length === TRANSFER_TOKEN_CHARS ? text : undefined)),
  }),
  npmCredentials: option<readonly string[], undefined>({
    flag: '--npm-credentials <@scope>',
    env: 'PEERWORK_NPM_CREDENTIALS',
    commands: ['worker', 'master'],
    meaning:
      "Private npm scopes that tasks may depend on: npm then uses the registry and credentials in this user's .npmrc for these scopes.",
    allowed: 'scope names, such as `@company`',
    default: undefined,
    defaultText: 'none',
    many: true,
    parse: every((text) => /^@[a-z\d][\w.-]*$/i.test(text)),
  }),
  logLevel: option<LogLevel, 'info'>({
    flag: '--log-level <level>',
    env: 'LOG_LEVEL',
    commands: ['worker', 'master', 'token', 'tracker'],
    meaning: 'Log verbosity.',
    allowed: `one of ${logLevels.join(', ')}`,
    default: 'info',
    parse: oneOf(logLevels),
  }),
  installMissing: option<boolean, false>({
    flag: '--install-missing',
    env: 'PEERWORK_INSTALL_MISSING',
    commands: ['worker', 'master', 'token', 'tracker', 'ledger'],
    meaning: 'Install packages that are needed and are not there, such as the client of a database, without asking.',
    allowed: 'yes or no',
    default: false,
    defaultText: 'no',
    parse: yesOrNo,
  }),
  trackers: option<readonly string[], undefined>({
    flag: '--tracker <url>',
    env: 'PEERWORK_TRACKERS',
    commands: ['worker', 'master', 'token'],
    meaning: 'Trackers used for rendezvous. The Master writes its own into the token, so Workers need not set any.',
    allowed: 'ws:// or wss:// URLs',
    default: undefined,
    defaultText: 'from the token, else public trackers',
    many: true,
    parse: every(isTrackerUrl),
  }),
  ice: option<readonly string[], undefined>({
    flag: '--ice <url>',
    env: 'PEERWORK_ICE',
    commands: ['worker', 'master', 'token'],
    meaning: 'STUN and TURN servers: `stun:host:port`, `turn:user:password@host:port?transport=udp|tcp`, `turns:user:password@host:port`.',
    allowed: 'stun:, turn: or turns: URLs, or `none`',
    default: undefined,
    defaultText: 'from the token, else public STUN',
    secret: true,
    many: true,
    parse: (given) => (given.length === 1 && given[0] === 'none' ? [] : every((text) => /^(stun|turns?):[^\s,]+$/i.test(text))(given)),
  }),
} as const;
