import { pairs, readHttpAddress } from '../../config/values.js';
import { PeerworkError } from '../../errors.js';
import { omitUndefined } from '../../kit/omit.js';
import { checkHttp } from '../health/check-http.js';
import type { Wire } from '../wire.js';
import { CrewError } from './errors.js';
import { crewOptions } from './options.js';

export const crew: Wire<typeof crewOptions> = {
  name: 'crew',
  summary: 'crew servers: polled for tasks, or calling this Worker',
  options: crewOptions,
  errors: CrewError,
  configured: ({ crewUrl, crewEndpoint }) => crewUrl !== undefined || crewEndpoint !== undefined,
  questions: ['crewUrl', 'crewTasks', 'crewAuthorization'],
  async check({ crewUrl, crewAuthorization: authorization }, { signal }) {
    // fetch rejects URLs that contain a password.
    if (crewUrl === undefined || new URL(crewUrl).username !== '') return [];
    const headers = authorization === undefined ? {} : { authorization };
    const url = `${crewUrl.replace(/\/*$/, '/')}healthz`;
    return [await checkHttp('crew', url, { variable: 'PEERWORK_CREW_URL', signal, headers })];
  },
  async server({ crewPath: path, crewAbandonedSeconds: abandonedSeconds, ...options }) {
    if (path === 'off') return undefined;
    const { crewVirtualOperator: virtualOperatorUrl, crewVirtualOperatorToken: virtualOperatorToken } = options;
    const { crewServer } = await import('./server/crew.js');
    return crewServer(omitUndefined({ path, abandonedSeconds, virtualOperatorUrl, virtualOperatorToken }));
  },
  async setup({ crewUrl: url, crewTasks, crewAuthorization: authorization, crewEndpoint, crewEndpointToken: token }) {
    const tasks = pairs(crewTasks ?? []);
    if (crewTasks === undefined || tasks === undefined)
      throw new PeerworkError('option-invalid', 'crew needs at least one --crew-task <channel=folder>');
    const { crewSource } = await import('./source/crew-source.js');
    const address = crewEndpoint === undefined ? 'off' : readHttpAddress(crewEndpoint);
    const endpoint = typeof address === 'object' ? { ...address, ...omitUndefined({ token }) } : undefined;
    return crewSource({ tasks, ...omitUndefined({ url, authorization, endpoint }) });
  },
};
