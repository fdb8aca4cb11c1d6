import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { execa } from 'execa';
import t, { type Test } from 'tap';
import { findChromium, openBrowser } from '../lab/browser.js';
import { installCrew } from '../lab/foreign-crew.js';
import { freePort } from '../lab/free-port.js';
import { Grid, packageRoot } from '../lab/grid.js';
import { requireThat } from '../lab/require.js';
import { until } from '../lab/until.js';

// biome-ignore lint/suspicious/noExplicitAny: what crew answers is looked into without end.
type Any = any;

const ask = async (url: string, body?: object): Promise<Any> => {
  const response = await fetch(url, {
    ...(body !== undefined && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  return response.json();
};

/** What a page from another origin does: reads, writes and listens, all with crew's address. */
const PAGE = (
  api: string,
) => `<!doctype html><meta charset="utf-8"><title>page</title><script src="/socket.io.js"></script><pre id="log"></pre><script>
const say = (line) => { document.getElementById('log').textContent += line + '\\n'; };
const json = { 'content-type': 'application/json' };
const call = async (method, path, body) => (await fetch('${api}api/v1/' + path, { method, headers: body ? json : {}, body: body && JSON.stringify(body) })).json();
(async () => {
  const group = await call('POST', 'task_groups', { name: 'from a page' });
  const socket = io('${api}');
  await new Promise((resolve) => socket.on('connect', resolve));
  socket.onAny((event, payload) => say(event + ' ' + (payload?.name ?? '')));
  socket.emit('watchTaskGroup', { taskGroupId: group._id });
  await call('PUT', 'task_group/' + group._id, { name: 'renamed' });
  const task = await call('POST', 'task_group/' + group._id + '/tasks', { name: 'a task', channel: 'c' });
  await call('DELETE', 'task/' + task._id);
  say('done ' + (await call('GET', 'task_groups/count')).count);
})().catch((error) => say('failed ' + error));
</script>`;

function serve(t: Test, port: number, api: string): Promise<void> {
  const script = readFileSync(join(packageRoot, 'node_modules/socket.io-client/dist/socket.io.min.js'));
  const server = createServer((request, response) => {
    const isScript = request.url === '/socket.io.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html').end(isScript ? script : PAGE(api));
  });
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return new Promise((resolve) => server.listen(port, 'localhost', () => resolve()));
}

t.test('a Master without a task serves pages of a named origin, and those alone', async (t) => {
  if (!requireThat(t, findChromium() !== undefined, 'chromium is missing: apt-get install chromium')) return;
  const grid = new Grid();
  t.teardown(() => grid.close());
  await grid.tracker();
  const [port, friend, stranger] = [await freePort(), await freePort(), await freePort()];
  const api = `http://127.0.0.1:${port}/crew/`;
  const args = ['--http', `127.0.0.1:${port}`, '--http-origin', `http://localhost:${friend}`, '--ledger', 'memory:'];
  const { program } = await grid.master(args);
  await program.line(/Dashboard: /);
  const browser = await openBrowser(t);
  const shown = async (from: number, last: RegExp) => {
    await serve(t, from, api);
    const page = await browser.newPage();
    await page.goto(`http://localhost:${from}/`);
    await until(async () => last.test((await page.textContent('#log')) ?? ''));
    return (await page.textContent('#log')) ?? '';
  };
  const log = await shown(friend, /done|failed/);
  for (const line of ['task_group:update renamed', 'task:create a task', 'task:delete a task', 'done 1']) t.match(log, line);
  t.match(await shown(stranger, /done|failed/), /failed TypeError: Failed to fetch/);
  t.match(await ask(`${api}api/v1/task_groups/count`), { count: 1 }, 'and nothing came of it');

  // Workers that bring their own code: crew's, and those of our HTTP API.
  await ask(`http://127.0.0.1:${port}/v1/jobs`, [{ id: 'a', data: 1, channel: 'mine' }]);
  const lease = { worker: { name: 'w' }, channels: ['mine'], limit: 1 };
  t.match(await ask(`http://127.0.0.1:${port}/v1/leases`, lease), { jobs: [{ id: 'a' }] });
});

t.test('a Master with neither a task nor an address says what is missing', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  for (const args of [[], ['--http', 'off']]) {
    const program = grid.start(['master', ...args]);
    t.not((await program.ended).code, 0);
    t.match(program.text, /--task <folder>.*--http <address>/);
  }
});

/** The commands of the guide, in order. */
function guide(): string[] {
  const text = readFileSync(join(packageRoot, 'docs/coming-from/crew.md'), 'utf8');
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap(([, body = '']) => body.trim().split('\n'));
}

t.test('the guide, followed to its end with crew’s own workers and crew-ui', async (t) => {
  if (!requireThat(t, findChromium() !== undefined, 'chromium is missing: apt-get install chromium')) return;
  const grid = new Grid();
  t.teardown(() => grid.close());
  await grid.tracker();
  const [port, uiPort] = [String(await freePort()), String(await freePort())];
  let group = '';
  const wordsOf = (line: string) =>
    [
      ...line
        .replaceAll('8470', port)
        .replaceAll('3001', uiPort)
        .replaceAll('GROUP', group)
        .matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g),
    ].map(([word]) => word.replace(/'([^']*)'|"([^"]*)"/g, '$1$2'));
  const [start = '', install = '', work = '', makeGroup = '', makeTask = '', list = '', ui = '', ...more] = guide();
  t.same(more, []);
  const { program } = await grid.master([...wordsOf(start).slice(2), '--ledger', 'memory:']);
  await program.line(/Dashboard: /);
  if (!requireThat(t, await installCrew(grid.folder, wordsOf(install).slice(1)), 'crew and crew-ui cannot be had from npm')) return;
  const run = (line: string) => {
    const started = execa('npx', wordsOf(line).slice(1), { cwd: grid.folder, reject: false, detached: true, all: true });
    t.teardown(async () => {
      // npx and everything it started.
      if (started.pid !== undefined && started.exitCode === null) process.kill(-started.pid, 'SIGKILL');
      await started;
    });
    return started;
  };
  run(work);
  const curl = async (line: string): Promise<Any> => JSON.parse((await execa('curl', ['-s', ...wordsOf(line).slice(1)])).stdout);
  const made = await curl(makeGroup);
  t.match(made, { name: 'first', isPaused: false });
  group = made._id;
  t.match(await curl(makeTask), { name: 'seed', channel: 'worker_c', isSeed: true });

  run(ui);
  const home = `http://localhost:${uiPort}`;
  await until(() =>
    fetch(home)
      .then(({ ok }) => ok)
      .catch(() => false),
  );
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  await page.goto(home);
  await page.getByText('Task Groups').first().click();
  await page.getByText('first').first().click();
  // The children created by the worker, received live or read.
  await until(async () => (await page.locator('tbody tr').count()) > 1);
  const before = await page.locator('tbody tr').count();
  // A job added before the page listens is not shown: crew-ui reads the list first and joins afterwards.
  await until(async () => {
    await ask(`http://127.0.0.1:${port}/crew/api/v1/task_group/${group}/tasks`, { name: 'added from elsewhere', channel: 'nobody' });
    return (await page.getByText('added from elsewhere').count()) > 0;
  }, 1_000);
  t.ok((await page.locator('tbody tr').count()) > before, 'a task that another client adds appears by itself');
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByText('(Paused)').waitFor();
  t.match(await ask(`http://127.0.0.1:${port}/crew/api/v1/task_group/${group}`), { isPaused: true });
  await page.getByRole('button', { name: 'Resume' }).click();
  await until(async () => (await ask(`http://127.0.0.1:${port}/crew/api/v1/task_group/${group}`)).isPaused === false);
  const tasks = await curl(list);
  t.match(
    tasks.find(({ name }: Any) => name === 'seed'),
    { isComplete: true, remainingAttempts: 0 },
  );
  t.ok(tasks.length > 4);
});
