import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { dashboardFolder } from '../../src/master/http/server.js';
import { complaints, findChromium, openBrowser, screenshot } from '../lab/browser.js';
import { Grid } from '../lab/grid.js';
import { openApi } from '../lab/job-service.js';
import { requireThat } from '../lab/require.js';
import { until } from '../lab/until.js';

const hasChromium = (t: Test) => requireThat(t, findChromium() !== undefined, 'chromium missing: apt-get install chromium');

/** Fails on the first run of a job, reports its progress, and does what its data says. */
const TASK = `
import { setTimeout } from 'node:timers/promises';
export default async (data, { attempt, progress, log, spawn }) => {
  log('begins with', data.word);
  progress(0.5);
  await setTimeout(data.ms ?? 50);
  if (data.fails >= attempt) throw new Error('not yet');
  if (data.spawn) spawn([{ data: { word: 'child' } }, { data: { word: 'other' } }]);
  return { word: data.word };
};
`;

t.test('the page is small', async (t) => {
  const bytes = readdirSync(dashboardFolder).reduce((sum, file) => sum + statSync(join(dashboardFolder, file)).size, 0);
  t.ok(bytes < 200 * 1024, `${bytes} bytes`);
});

t.test('push, run, fail, retry, done: in a real browser, with a real Worker', async (t) => {
  if (!hasChromium(t)) return;
  const grid = new Grid();
  t.teardown(() => grid.close());
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), TASK);
  await grid.tracker();
  const env = { PEERWORK_HTTP_TOKENS: 'admin:dashboard-token' };
  const { program, token } = await grid.master(['--task', 'task', '--http', '0', '--ledger', 'sqlite:l.db'], { env });
  const [, url = ''] = /Dashboard: (\S+)/.exec(await program.line(/Dashboard: /)) ?? [];
  grid.worker(token, 'attic');
  await program.line(/connected/);

  const page = await (await openBrowser(t)).newPage({ viewport: { width: 1280, height: 860 } });
  const heard = complaints(page);
  await page.goto(url);
  await page.getByLabel('Token').fill('dashboard-token');
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'jobs' }).click();
  heard.length = 0; // The console reports the refusal that asks for the token.

  await page.getByRole('button', { name: 'Push a job' }).click();
  await page
    .locator('textarea')
    .fill(JSON.stringify({ id: 'first', data: { word: 'hello', fails: 1, ms: 200 }, attempts: 1, group: 'demo', name: 'First job' }));
  await page.locator('dialog').getByRole('button', { name: 'Push' }).click();
  const detail = page.getByRole('article', { name: 'Job First job' });
  await detail.getByText('failed', { exact: false }).first().waitFor();
  await detail.getByText('task-threw').first().waitFor();
  t.match((await detail.locator('.log').textContent()) ?? '', /begins with hello[\s\S]*not yet/);
  await screenshot(page, 'failed');
  const retried = detail.getByRole('button', { name: 'Retry' });
  await retried.click();
  // It fails as often as its data says; the second attempt gets different data.
  await detail.getByText('failed', { exact: false }).first().waitFor();
  await page.evaluate(
    async ([base, auth]) => {
      await fetch(`${base}v1/jobs/first/reset`, { method: 'POST', headers: { authorization: auth } });
    },
    [url, 'Bearer dashboard-token'] as const,
  );
  t.pass('failed twice');

  await page.getByRole('button', { name: 'Push a job' }).click();
  const graph = [
    { id: 'a', data: { word: 'a', ms: 300 }, group: 'graph' },
    { id: 'b', data: { word: 'b', ms: 300 }, group: 'graph', parents: ['a'] },
    { id: 'c', data: { word: 'c', ms: 300, fails: 1 }, group: 'graph', parents: ['a'], backoffMs: 0 },
    { id: 'd', data: { word: 'd' }, group: 'graph', parents: ['b', 'c'] },
  ];
  await page.locator('textarea').fill(JSON.stringify(graph));
  await page.locator('dialog').getByRole('button', { name: 'Push' }).click();
  await page.getByRole('link', { name: 'groups' }).click();
  await page.getByRole('button', { name: /graph/ }).first().click();
  await page.locator('.node.completed').nth(3).waitFor();
  t.equal(await page.locator('.node').count(), 4);
  t.match(await page.locator('.graph svg').getAttribute('aria-label'), /Graph of 4 jobs/);
  await screenshot(page, 'graph');
  await page.locator('.graph svg').focus();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Enter');
  await page.getByRole('article', { name: /Job [bc]/ }).waitFor();
  await page.getByText('"word"').first().waitFor();
  await page.keyboard.press('Escape');

  await page.getByRole('link', { name: 'workers' }).click();
  await page.getByText('attic').waitFor();
  await page.getByText('direct', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Drain' }).click();
  await page.getByText('drained').waitFor();
  await page.getByRole('button', { name: 'Resume' }).click();
  await page.getByRole('button', { name: 'Drain' }).waitFor();
  await screenshot(page, 'workers');

  await page.getByRole('link', { name: 'limits' }).click();
  await page.getByLabel('New workgroup').fill('api-key');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Hold for a minute' }).click();
  await page.getByText('held until').waitFor();
  await page.getByRole('button', { name: 'Release' }).click();
  await page.getByText('held until').waitFor({ state: 'detached' });
  await page.getByLabel('Id', { exact: true }).fill('nightly');
  await page.getByRole('button', { name: 'Make' }).last().click();
  await page.getByText('nightly').first().waitFor();

  await page.getByRole('link', { name: 'overview' }).click();
  await page.getByRole('img', { name: /Throughput/ }).waitFor();
  await screenshot(page, 'overview');
  t.strictSame(heard, [], 'nothing to complain of, and the content policy holds');
});

t.test('on a phone, in the dark, by keyboard alone', async (t) => {
  if (!hasChromium(t)) return;
  const { service, url } = await openApi(t, { dashboard: dashboardFolder });
  await service.push([
    {
      id: 'x',
      data: { long: 'word'.repeat(100) },
      group: 'a group with a rather long name',
      name: 'A job with a name that is too long for one line of a phone',
    },
  ]);
  const page = await (await openBrowser(t)).newPage({ viewport: { width: 360, height: 740 }, colorScheme: 'dark' });
  const heard = complaints(page);
  for (const view of ['overview', 'jobs', 'groups', 'workers', 'limits', 'jobs/x']) {
    await page.goto(`${url}/#${view}`);
    await page.locator('main').waitFor();
    await page.waitForTimeout(300);
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), 360, `${view}: no scrolling sideways`);
  }
  await screenshot(page, 'phone');
  // The page renders a moment after a choice. Polled from here, because its content policy forbids repeated evaluation inside the
  // page.
  const background = async (colour: string) => {
    await until(async () => (await page.evaluate('getComputedStyle(document.body).backgroundColor')) === colour);
  };
  await background('rgb(20, 23, 22)');
  t.pass('as the system has it');
  await page.getByLabel('Colours').selectOption('light');
  await background('rgb(251, 251, 249)');
  t.pass('as was chosen');

  await page.goto(`${url}/#jobs`);
  await page.locator('.list .row').waitFor();
  await page.keyboard.press('/');
  t.equal(await page.evaluate('document.activeElement.placeholder'), 'press /');
  await page.keyboard.type('x');
  await page.getByRole('listbox').focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.getByRole('article', { name: /^Job/ }).waitFor();
  await page.keyboard.press('Escape');
  await page.locator('.list').waitFor();
  t.strictSame(heard, []);
});

t.test('10,000 jobs and 500 workers', async (t) => {
  if (!hasChromium(t)) return;
  const { service, url, ledger } = await openApi(t, { dashboard: dashboardFolder });
  await service.push(
    Array.from({ length: 10_000 }, (_, at) => ({
      id: `job-${at}`,
      data: at,
      group: at < 1_500 ? 'big' : 'rest',
      ...(at > 0 && at < 1_500 && { parents: [`job-${Math.floor(at / 3)}`] }),
    })),
  );
  for (let at = 0; at < 500; at += 1) await ledger.markWorker({ id: `http:w${at}`, name: `w${at}` }, {}, 1);
  const page = await (await openBrowser(t)).newPage({ viewport: { width: 1280, height: 860 } });
  const heard = complaints(page);
  await page.addInitScript(
    'window.longest = 0; new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration); }).observe({ type: "longtask", buffered: true });',
  );
  await page.goto(`${url}/#jobs`);
  await page.locator('.list .row').first().waitFor();
  const list = page.getByRole('listbox');
  await list.focus();
  // Reaching the end of the list loads the next page.
  await until(async () => {
    await page.keyboard.press('End');
    return page.getByText('job-0', { exact: true }).isVisible();
  }, 100);
  t.ok((await page.locator('.list .row').count()) < 100, 'only those in view are there');
  const working = (async () => {
    for (let round = 0; round < 10; round += 1) {
      const worker = { id: 'http:w1', name: 'w1' };
      const jobs = await service.lease({ worker, channels: ['default'], limit: 200, waitMs: 0 });
      await service.settle(
        worker,
        jobs.map(({ id, lease }) => ({ id, lease, outcome: { state: 'completed', output: null }, startedAt: 1, finishedAt: 1 })),
      );
    }
  })();
  await page.goto(`${url}/#groups/big`);
  await page.locator('.node').nth(1_499).waitFor();
  await working;
  await page.locator('.node.completed').first().waitFor();
  await page.goto(`${url}/#workers`);
  await page.getByText('w499').waitFor();
  t.comment(`longest task of the page: ${await page.evaluate('window.longest')} ms`);
  t.strictSame(heard, []);
});
