import { withoutPassword } from '../log.js';
import { option } from './option.js';
import { anyText, everyPair, readHttpAddress, single } from './values.js';

/** Options of Workers that do tasks of crew servers. */
export const crewOptions = {
  crewUrl: option<string, undefined>({
    flag: '--crew-url <url>',
    env: 'PEERWORK_CREW_URL',
    commands: ['worker'],
    meaning: 'The crew server that this worker asks for tasks, such as http://localhost:3000/; needs `--crew-task`.',
    allowed: 'an http:// or https:// URL',
    default: undefined,
    show: withoutPassword,
    parse: single((text) => (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol) ? text : undefined)),
  }),
  crewTasks: option<readonly string[], undefined>({
    flag: '--crew-task <channel=folder>',
    env: 'PEERWORK_CREW_TASKS',
    commands: ['worker'],
    meaning: 'A channel of crew that is served, and the folder with the task that does it.',
    allowed: 'the name of a channel, `=`, and a folder',
    default: undefined,
    many: true,
    parse: everyPair,
  }),
  crewAuthorization: option<string, undefined>({
    flag: '--crew-authorization <text>',
    env: 'PEERWORK_CREW_AUTHORIZATION',
    commands: ['worker'],
    meaning: 'What the crew server wants in the header `Authorization`, such as `Bearer …`. Better kept in .env than given as a flag.',
    allowed: 'the whole value of the header',
    default: undefined,
    secret: true,
    parse: anyText,
  }),
  crewEndpoint: option<string, undefined>({
    flag: '--crew-endpoint <[host:]port>',
    env: 'PEERWORK_CREW_ENDPOINT',
    commands: ['worker'],
    meaning: 'Where operators of a crew server send tasks of the channels of `--crew-task` (`POST /execute/<channel>`).',
    allowed: 'a port, or a host and a port',
    default: undefined,
    parse: single((text) => (typeof readHttpAddress(text) === 'object' ? text : undefined)),
  }),
  crewEndpointToken: option<string, undefined>({
    flag: '--crew-endpoint-token <text>',
    env: 'PEERWORK_CREW_ENDPOINT_TOKEN',
    commands: ['worker'],
    meaning:
      'What callers of the endpoint must show (CREW_VIRTUAL_OPERATOR_AUTH_TOKEN of the crew server); needed if others than this machine shall reach it.',
    allowed: 'any text',
    default: undefined,
    secret: true,
    parse: anyText,
  }),
} as const;
