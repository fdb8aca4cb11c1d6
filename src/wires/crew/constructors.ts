import { amount, type ConstructorTables, derivedFrom } from '../../config/constructor-option.js';
import { DEFAULT_ENDPOINT_HOST, DEFAULT_EXPIRED_DAYS, DEFAULT_INTERVAL_MS, DEFAULT_NAME, DEFAULT_WATCH_MS } from './defaults.js';
import { crewOptions } from './options.js';

/** Options of `crewSource` and its endpoint, and of `crewServer`. */
export const constructors: ConstructorTables = {
  crewSource: {
    url: {
      type: 'string',
      default: 'none',
      meaning:
        "Base URL of the server's routes, such as `http://localhost:3000/` or `https://example.org/crew`. Required unless there is an `endpoint`.",
    },
    authorization: derivedFrom(crewOptions.crewAuthorization, 'string', {
      meaning: 'Value of the `Authorization` header of each request, such as `Bearer …`.',
    }),
    tasks: {
      type: 'Readonly<Record<string, string | ExecAssets>>',
      required: true,
      meaning: 'Task code by channel: a folder, or an `execAssets` object.',
    },
    endpoint: {
      type: 'CrewEndpointOptions',
      default: 'none',
      meaning: 'Address where operators of a crew server send tasks of these channels; in addition to `url`, or instead of it.',
    },
    name: {
      type: 'string',
      default: `\`${DEFAULT_NAME}\``,
      meaning: 'Name of the source; a Worker with several crew sources needs a distinct one for each.',
    },
    intervalMs: {
      type: 'number',
      default: amount(DEFAULT_INTERVAL_MS, 'ms'),
      meaning: 'Longest polling interval of an idle channel. With many idle channels it is longer.',
    },
    watchMs: {
      type: 'number',
      default: amount(DEFAULT_WATCH_MS, 'ms'),
      meaning: 'How often to ask the server whether a running task is still assigned to this Worker.',
    },
    timeoutMs: { type: 'number', default: 'none', meaning: 'Time limit of one run; 0 is none.' },
  },
  crewEndpoint: {
    port: { type: 'number', required: true, meaning: 'Port to listen on.' },
    host: {
      type: 'string',
      default: `\`${DEFAULT_ENDPOINT_HOST}\``,
      meaning: 'Address to listen on; any that is not loopback needs a token.',
    },
    token: derivedFrom(crewOptions.crewEndpointToken, 'string', {
      meaning: 'Token that callers must send: as `accessToken` in the query or the body, or as `Authorization: Bearer …`.',
    }),
  },
  crewServer: {
    path: derivedFrom(crewOptions.crewPath, 'string', { meaning: 'Path prefix of the routes for crew clients.' }),
    abandonedSeconds: derivedFrom(crewOptions.crewAbandonedSeconds, 'number'),
    virtualOperatorUrl: derivedFrom(crewOptions.crewVirtualOperator, 'string'),
    virtualOperatorToken: derivedFrom(crewOptions.crewVirtualOperatorToken, 'string'),
    expiredGroupDays: {
      type: 'number',
      default: amount(DEFAULT_EXPIRED_DAYS, 'days'),
      meaning: 'Age at which `/api/v1/clean` deletes a group.',
    },
  },
};
