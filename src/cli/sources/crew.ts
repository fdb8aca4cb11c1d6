import { PeerworkError } from '../../errors.js';
import { given } from '../options.js';
import type { SourceCommand } from './source-command.js';

export const crew: SourceCommand = {
  name: 'crew',
  configured: ({ crewUrl, crewEndpoint }) => crewUrl !== undefined || crewEndpoint !== undefined,
  async setup({ crewUrl: url, crewTasks: tasks, crewAuthorization: authorization, crewEndpoint, crewEndpointToken: token }) {
    if (tasks === undefined) throw new PeerworkError('option-invalid', 'crew needs at least one --crew-task <channel=folder>');
    const { crewSource } = await import('../../sources/crew/crew-source.js');
    const endpoint = crewEndpoint === undefined ? undefined : { ...crewEndpoint, ...given({ token }) };
    return crewSource({ tasks, ...given({ url, authorization, endpoint }) });
  },
};
