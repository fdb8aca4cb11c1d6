import { io } from 'socket.io-client';
import t from 'tap';
import { crewServer } from '../../../src/wires/crew/server/crew.js';
import { openApi } from '../../lab/job-service.js';

const PAGE = 'http://localhost:3001';
const STRANGER = 'http://evil.example';

t.test('pages of the origins that were named may use the API, others may not', async (t) => {
  const { ask } = await openApi(t, { serve: [crewServer()], origins: [PAGE] });
  const preflight = { 'access-control-request-method': 'PUT', 'access-control-request-headers': 'content-type' };
  const allowed = await ask('OPTIONS', '/crew/api/v1/task_groups', undefined, { origin: PAGE, ...preflight });
  t.equal(allowed.status, 204);
  t.equal(allowed.headers.get('access-control-allow-origin'), PAGE);
  t.match(allowed.headers.get('access-control-allow-methods'), /PUT/);
  t.equal(allowed.headers.get('access-control-allow-headers'), 'content-type');
  t.equal(allowed.headers.get('vary'), 'Origin');
  for (const path of ['/crew/api/v1/task_groups', '/v1/jobs']) {
    const read = await ask('GET', path, undefined, { origin: PAGE });
    t.equal(read.status, 200, path);
    t.equal(read.headers.get('access-control-allow-origin'), PAGE);
  }
  const wrong = await ask('GET', '/crew/api/v1/task/000000000000000000000000', undefined, { origin: PAGE });
  t.equal(wrong.status, 404);
  t.equal(wrong.headers.get('access-control-allow-origin'), PAGE, 'and may read what went wrong');
  const refused = await ask('OPTIONS', '/crew/api/v1/task_groups', undefined, { origin: STRANGER, ...preflight });
  t.equal(refused.headers.get('access-control-allow-origin'), null);
  t.equal((await ask('GET', '/crew/api/v1/task_groups', undefined, { origin: STRANGER })).status, 403);
});

t.test('with tokens a preflight needs none, and what follows does', async (t) => {
  const { ask } = await openApi(t, { serve: [crewServer()], origins: [PAGE], tokens: ['work:a-work-token'] });
  const preflight = { 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization' };
  t.equal((await ask('OPTIONS', '/crew/api/v1/channels', undefined, { origin: PAGE, ...preflight })).status, 204);
  const without = await ask('GET', '/crew/api/v1/channels', undefined, { origin: PAGE });
  t.equal(without.status, 401);
  t.equal(without.headers.get('access-control-allow-origin'), PAGE);
});

t.test('without an origin that was named nothing of all this is said, and what is no origin is refused', async (t) => {
  const { ask } = await openApi(t, { serve: [crewServer()] });
  const answer = await ask('GET', '/crew/api/v1/channels', undefined, { origin: PAGE });
  t.equal(answer.status, 403);
  t.equal(answer.headers.get('access-control-allow-origin'), null);
  for (const origin of ['*', 'localhost:3001', 'http://localhost:3001/', ''])
    await t.rejects(openApi(t, { origins: [origin] }), { code: 'option-invalid' }, origin);
});

t.test('live events reach clients that take the path of crew for a namespace, and pages of those origins', async (t) => {
  const { url, ask } = await openApi(t, { serve: [crewServer()], origins: [PAGE] });
  const { body: group } = await ask('POST', '/crew/api/v1/task_groups', { name: 'G' });
  for (const path of ['/', '/crew/', '/crew'])
    for (const transports of [['polling'], ['websocket']]) {
      const socket = io(`${url}${path}`, { transports, extraHeaders: { origin: PAGE }, forceNew: true });
      t.teardown(() => socket.close());
      await new Promise<void>((resolve, reject) => {
        socket.on('connect', () => resolve());
        socket.on('connect_error', reject);
      });
      const heard = new Promise((resolve) => socket.once('task_group:update', resolve));
      socket.emit('watchTaskGroup', { taskGroupId: group._id });
      const name = `${path} ${transports}`;
      let told = false;
      void heard.then(() => {
        told = true;
      });
      while (!told) {
        await ask('PUT', `/crew/api/v1/task_group/${group._id}`, { name });
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      t.match(await heard, { _id: group._id, name });
      socket.close();
    }
  const elsewhere = io(`${url}/elsewhere`, { transports: ['websocket'], forceNew: true });
  t.teardown(() => elsewhere.close());
  await new Promise<void>((resolve) => elsewhere.on('connect_error', () => resolve()));
});
