import { option } from './option.js';
import { anyText, single } from './values.js';

/** Options of the commands that ask a running Master. */
const commands = ['push', 'jobs', 'job', 'groups', 'workers', 'hold', 'schedule', 'results'] as const;

export const clientOptions = {
  api: option<string, 'http://127.0.0.1:8470'>({
    flag: '--api <url>',
    env: 'PEERWORK_API',
    commands,
    meaning: 'Where the Master serves its HTTP API.',
    allowed: 'an http:// or https:// URL',
    default: 'http://127.0.0.1:8470',
    parse: single((text) => (/^https?:\/\//.test(text) && URL.canParse(text) ? text.replace(/\/+$/, '') : undefined)),
  }),
  apiToken: option<string, undefined>({
    flag: '--api-token <text>',
    env: 'PEERWORK_HTTP_TOKEN',
    commands,
    meaning: 'The token for the API, if the Master wants one. Better kept in .env than given as a flag.',
    allowed: 'text',
    default: undefined,
    defaultText: 'none',
    secret: true,
    parse: anyText,
  }),
} as const;
