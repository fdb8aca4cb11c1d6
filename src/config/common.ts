import { type LogLevel, logLevels } from '../log.js';
import { option } from './option.js';
import { every, isTrackerUrl, oneOf, single } from './values.js';

const MAX_NAME_CHARS = 64;
const TRANSFER_TOKEN_CHARS = 32;

/** Options of Workers and Masters alike. */
export const commonOptions = {
  name: option<string, undefined>({
    flag: '--name <text>',
    env: 'name',
    commands: ['worker', 'master'],
    meaning: 'What this machine is called in lists and results.',
    allowed: `1 to ${MAX_NAME_CHARS} printable characters`,
    default: undefined,
    defaultText: 'the host name',
    parse: single((text) => (/^[^\p{Cc}]+$/u.test(text) && [...text].length <= MAX_NAME_CHARS ? text : undefined)),
  }),
  transferEncryptToken: option<string, undefined>({
    flag: '--transfer-encrypt-token <text>',
    env: 'transferEncryptToken',
    commands: ['worker', 'master'],
    meaning: 'An extra AES secret that Master and Workers must share, besides the token.',
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
      "Scopes of private npm registries whose packages tasks may have: npm then uses the registry and the credentials that this user's .npmrc has for them.",
    allowed: 'names of scopes, such as `@company`',
    default: undefined,
    defaultText: 'none',
    many: true,
    parse: every((text) => /^@[a-z\d][\w.-]*$/i.test(text)),
  }),
  logLevel: option<LogLevel, 'info'>({
    flag: '--log-level <level>',
    env: 'LOG_LEVEL',
    commands: ['worker', 'master', 'token', 'tracker'],
    meaning: 'How much is told.',
    allowed: `one of ${logLevels.join(', ')}`,
    default: 'info',
    parse: oneOf(logLevels),
  }),
  trackers: option<readonly string[], undefined>({
    flag: '--tracker <url>',
    env: 'PEERWORK_TRACKERS',
    commands: ['worker', 'master', 'token'],
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
    commands: ['worker', 'master', 'token'],
    meaning: 'STUN and TURN servers: `stun:host:port`, `turn:user:password@host:port?transport=udp|tcp`, `turns:user:password@host:port`.',
    allowed: 'stun:, turn: or turns: URLs, or `none`',
    default: undefined,
    defaultText: 'those of the token, else public STUN',
    secret: true,
    many: true,
    parse: (given) => (given.length === 1 && given[0] === 'none' ? [] : every((text) => /^(stun|turns?):[^\s,]+$/i.test(text))(given)),
  }),
} as const;
