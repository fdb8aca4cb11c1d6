import { pairs, readHttpAddress } from '../../config/values.js';
import { PeerworkError } from '../../errors.js';
import { checkHttp } from '../health/check-http.js';
import { given } from '../options.js';
import type { SourceCommand } from './source-command.js';

export const crew: SourceCommand = {
  name: 'crew',
  configured: ({ crewUrl, crewEndpoint }) => crewUrl !== undefined || crewEndpoint !== undefined,
  questions: ['crewUrl', 'crewTasks', 'crewAuthorization'],
  async check({ crewUrl, crewAuthorization: authorization }, { signal }) {
    // fetch takes no address with a password in it.
    if (crewUrl === undefined || new URL(crewUrl).username !== '') return [];
    const headers = authorization === undefined ? {} : { authorization };
    const url = `${crewUrl.replace(/\/*$/, '/')}healthz`;
    return [await checkHttp('crew', url, { variable: 'PEERWORK_CREW_URL', signal, headers })];
  },
  async setup({ crewUrl: url, crewTasks, crewAuthorization: authorization, crewEndpoint, crewEndpointToken: token }) {
    const tasks = pairs(crewTasks ?? []);
    if (crewTasks === undefined || tasks === undefined)
      throw new PeerworkError('option-invalid', 'crew needs at least one --crew-task <channel=folder>');
    const { crewSource } = await import('../../sources/crew/crew-source.js');
    const address = crewEndpoint === undefined ? 'off' : readHttpAddress(crewEndpoint);
    const endpoint = typeof address === 'object' ? { ...address, ...given({ token }) } : undefined;
    return crewSource({ tasks, ...given({ url, authorization, endpoint }) });
  },
};
