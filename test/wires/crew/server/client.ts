import type { Test } from 'tap';
import type { CrewOptions } from '../../../../src/wires/crew/server/context.js';
import { crewServer } from '../../../../src/wires/crew/server/crew.js';
import { openApi } from '../../../lab/job-service.js';

// biome-ignore lint/suspicious/noExplicitAny: responses of crew have no fixed shape.
export type Any = any;

/** A Master with crew's routes, and a client that calls them the way crew does: JSON in, JSON out, 200 or an error. */
export async function openCrew(t: Test, { crew, ...options }: Parameters<typeof openApi>[1] & { readonly crew?: CrewOptions } = {}) {
  const api = await openApi(t, { serve: [crewServer(crew)], ...options });
  const base = `${api.url}/crew/api/v1`;
  const send = async (method: string, path: string, body?: unknown): Promise<{ readonly status: number; readonly body: Any }> => {
    const response = await fetch(`${base}/${path}`, {
      method,
      headers: { accept: 'application/json, text/plain, */*', ...(body !== undefined && { 'content-type': 'application/json' }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
  };
  const get = async (path: string): Promise<Any> => (await send('GET', path)).body;
  const post = async (path: string, body: unknown = {}): Promise<Any> => (await send('POST', path, body)).body;
  const group = async (fields: object = {}): Promise<string> => (await post('task_groups', { name: 'G', ...fields }))._id;
  const task = (groupId: string, fields: object = {}): Promise<Any> =>
    post(`task_group/${groupId}/tasks`, { name: 'T', channel: 'c', ...fields });
  const acquire = (workerId = 'w1', channel = 'c'): Promise<Any> => post(`channel/${channel}/acquire`, { workerId });
  const release = (id: string, fields: object = {}, workerId = 'w1') => send('POST', `task/${id}/release`, { workerId, ...fields });
  return { ...api, send, get, post, group, task, acquire, release };
}
