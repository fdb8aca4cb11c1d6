import t, { type Test } from 'tap';
import type { Settlement } from '../../src/job/verbs.js';
import type { Driver } from '../../src/ledger/driver.js';
import type { LeasedJob, Ledger, LedgerChange } from '../../src/ledger/ledger.js';
import { engines, expire } from './engines.js';
import { ann, ben, claim, claimIds, claimOne, completed, failed, ids, LEASE_MS, NOW, released, said, stateOf } from './verbs.js';

type Reporting = LeasedJob & { readonly last: Pick<Settlement, 'reports'> };

for (const engine of engines) {
  const test = (name: string, body: (t: Test, ledger: Ledger, driver: Driver) => Promise<void>) =>
    t.test(`${engine.name}: ${name}`, async (t) => {
      const { ledger, driver } = await engine.open(t, () => 0);
      await body(t, ledger, driver);
    });

  test('labels: a job goes only to a worker that has all it requires', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'gpu', data: 1, requires: ['gpu'], priority: 9 },
        { id: 'both', data: 1, requires: ['gpu', 'arch=arm64', 'gpu'] },
        { id: 'any', data: 1 },
      ],
      NOW,
    );
    t.match(await ledger.get('both'), { requires: ['arch=arm64', 'gpu'] });
    t.equal(await claimIds(ledger, { labels: ['arch=arm64'] }), 'any');
    t.equal(await claimIds(ledger, { labels: ['gpu', 'os=linux'] }), 'gpu');
    t.equal(await claimIds(ledger, { labels: ['gpu', 'arch=arm64'] }), 'both');
  });

  test('the states of many jobs at once, unknown ones left out', async (t, ledger) => {
    await ledger.add(
      Array.from({ length: 1_200 }, (_, n) => ({ id: `j${n}`, data: n })),
      NOW,
    );
    await ledger.cancel(['j7'], NOW);
    const states = await ledger.states(['nobody', ...Array.from({ length: 1_200 }, (_, n) => `j${n}`)]);
    t.equal(states.size, 1_200);
    t.same([states.get('j7'), states.get('j1199'), states.get('nobody')], ['cancelled', 'ready', undefined]);
    t.equal((await ledger.states([])).size, 0);
  });

  test('the first job of a channel can be claimed in the transaction that adds it, also after a claim in it that found none', async (t, ledger) => {
    const none = claimIds(ledger);
    const added = ledger.add([{ id: 'first', data: 1 }], NOW);
    const first = claimIds(ledger);
    await added;
    t.same(await Promise.all([none, first]), ['', 'first']);
  });

  test('a persistent job is held by one worker for ever, whatever its runs come to (worqr: another’s failure gave it to two)', async (t, ledger) => {
    await ledger.add([{ id: 'p', data: 1, persistent: true, attempts: 1, backoffMs: 1_000 }], NOW);
    let run = await claimOne(ledger);
    t.equal(await claimIds(ledger, { worker: ben }), '');
    await ledger.settle(ann, [completed(run)], NOW);
    run = await claimOne(ledger);
    await ledger.settle(ann, [failed(run, { retry: false })], NOW);
    t.match(await ledger.get('p'), { state: 'ready', runAt: NOW + 1_000 });
    run = await claimOne(ledger, { now: NOW + 1_000, worker: ben });
    await expire(ledger, NOW + 1_000 + LEASE_MS);
    t.equal(await stateOf(ledger, 'p'), 'ready');
    await ledger.cancel(['p'], NOW);
    t.equal(await stateOf(ledger, 'p'), 'cancelled');
    await t.rejects(ledger.add([{ data: 1, persistent: true, key: 'k' }], NOW), { code: 'job-invalid' });
  });

  test('a job that must never run twice fails when its worker is lost, and not when it is given back unrun', async (t, ledger) => {
    await ledger.add([{ id: 'pay', data: 1, workerLoss: 'fail' }], NOW);
    t.match(await ledger.get('pay'), { workerLoss: 'fail' });
    const run = await claimOne(ledger);
    await ledger.settle(ann, [released(run)], NOW);
    await claimOne(ledger);
    await expire(ledger, NOW + LEASE_MS);
    t.match(await ledger.get('pay'), { state: 'failed', settled: { error: { code: 'lease-expired' }, attempts: 1 } });
    await ledger.retry(['pay'], NOW);
    t.match(await ledger.change('pay', { workerLoss: 'retry' }, NOW), { workerLoss: 'retry', state: 'ready' });
    await claimOne(ledger);
    await expire(ledger, NOW + LEASE_MS);
    t.match(await ledger.get('pay'), { state: 'ready', error: { code: 'lease-expired' } });
    t.equal((await ledger.get((await ledger.add([{ data: 1 }], NOW))[0]?.id ?? ''))?.workerLoss, 'retry', 'as is usual');
  });

  test('a failed run keeps what it had made, if it gave that back; nobody takes it for the output of a job that completed', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'a', data: 1, attempts: 2, backoffMs: 0, key: 'k' },
        { id: 'twin', data: 1, attempts: 1, key: 'k' },
        { id: 'child', data: 1, parents: ['a'], parentFailure: 'run' },
        { id: 'huge', data: 1 },
      ],
      NOW,
    );
    const first = await claimOne(ledger);
    await ledger.settle(ann, [failed(first, { output: { stdout: 'first' } })], NOW);
    t.match(await ledger.get('twin'), { settled: { state: 'failed', output: { stdout: 'first' } } });
    t.equal((await ledger.get('a'))?.settled, undefined);
    const again = await claimOne(ledger);
    await ledger.settle(ann, [failed(again, { output: { stdout: 'last' } })], NOW);
    const expected = { state: 'failed', error: { code: 'task-threw', message: 'no' }, output: { stdout: 'last' } };
    t.match(await ledger.get('a'), { settled: expected });
    t.match((await ledger.settledAfter(0, 10)).at(-1)?.job, expected);
    const rest = await claim(ledger);
    t.same(rest.find(({ id }) => id === 'child')?.parents, [{ id: 'a', channel: 'default', data: '1', output: 'null' }]);
    const huge = rest.find(({ id }) => id === 'huge') as { id: string; lease: number };
    await ledger.settle(ann, [failed(huge, { retry: false, output: 'x'.repeat(9 * 1024 * 1024) })], NOW);
    const { error, output } = (await ledger.get('huge'))?.settled ?? {};
    t.equal(output, undefined);
    t.match(error, { code: 'task-threw', message: /^no \(what it had made is not kept: .*8388608 bytes/ }, 'why it failed is what counts');
    await ledger.retry(['a'], NOW);
    t.equal((await ledger.get('a'))?.settled, undefined);
  });

  test('jobs at an instant, with a fixed back-off, and falsy values that are values (crew: weight 0 and input 0 could not be said)', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'a', data: 0, runAt: NOW + 500, backoff: 'fixed', backoffMs: 300, weight: 0, meta: false, name: 'A' },
        { id: 'past', data: '', runAt: NOW - 5 },
      ],
      NOW,
    );
    t.equal(await claimIds(ledger), 'past');
    t.match(await ledger.get('a', NOW), {
      runAt: NOW + 500,
      waiting: 'delayed',
      data: 0,
      weight: 0,
      meta: false,
      name: 'A',
      backoff: 'fixed',
    });
    for (const round of [1, 2]) {
      const at = NOW + 10_000 * round;
      await ledger.settle(ann, [failed(await claimOne(ledger, { now: at }))], at);
      t.match(await ledger.get('a'), { runAt: at + 300 });
    }
    for (const bad of [
      { runAt: 1, delayMs: 1 },
      { keyWindowMs: 1 },
      { requires: 'gpu' },
      { requires: ['a\nb'] },
      { parents: [''] },
      { weight: -1 },
      { seed: 1 },
      { backoff: 'x' },
    ])
      await t.rejects(ledger.add([{ data: 1, ...bad } as never], NOW), { code: 'job-invalid' });
  });

  test('changes of a job that has not ended', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'a', data: 1, group: 'g' },
        { id: 'b', data: 1 },
        { id: 'run', data: 1, priority: 9 },
      ],
      NOW,
    );
    await ledger.change(
      'a',
      { data: { n: 2 }, priority: 5, name: 'A', channel: 'x', workgroup: 'w', key: 'k', meta: [1], runAt: NOW + 10, backoff: 'fixed' },
      NOW,
    );
    t.match(await ledger.get('a'), {
      data: { n: 2 },
      priority: 5,
      name: 'A',
      channel: 'x',
      workgroup: 'w',
      key: 'k',
      meta: [1],
      runAt: NOW + 10,
    });
    t.strictSame(await ledger.channels(), [
      { name: 'default', counts: { blocked: 0, ready: 2, leased: 0, completed: 0, failed: 0, cancelled: 0 } },
      { name: 'x', counts: { blocked: 0, ready: 1, leased: 0, completed: 0, failed: 0, cancelled: 0 } },
    ]);
    const cleared = await ledger.change('a', { name: null, workgroup: null, key: null, runAt: null }, NOW);
    t.notOk('name' in (cleared ?? {}) || 'workgroup' in (cleared ?? {}) || 'key' in (cleared ?? {}) || 'runAt' in (cleared ?? {}));
    t.equal(await claimIds(ledger, { channels: ['x'] }), 'a');
    const run = await claimOne(ledger);
    t.match(await ledger.change('run', { attemptsLeft: 0, priority: 1 }, NOW), { state: 'leased', priority: 1 });
    await t.rejects(ledger.change('run', { channel: 'y' }, NOW), { code: 'job-invalid' });
    await ledger.settle(ann, [failed(run)], NOW);
    t.equal(await stateOf(ledger, 'run'), 'failed', 'no attempt was left');
    await t.rejects(ledger.change('run', { priority: 2 }, NOW), { code: 'job-ended' });
    t.match(await ledger.change('b', { attemptsLeft: 0 }, NOW), { state: 'failed' });
    t.equal(await ledger.change('nobody', {}, NOW), undefined);
    await t.rejects(ledger.change('a', { priority: 'high' } as never, NOW), { code: 'job-invalid' });
    await t.rejects(ledger.change('a', { id: 'z' } as never, NOW), { code: 'job-invalid', detail: /id/ });
  });

  test('lists: every filter, both directions, page by page', async (t, ledger) => {
    await ledger.add(
      Array.from({ length: 25 }, (_, at) => ({
        id: `job-${at}`,
        data: at,
        channel: at % 2 ? 'x' : 'y',
        group: at < 5 ? 'g' : 'h',
        workgroup: at === 7 ? 'w' : 'v',
      })),
      NOW,
    );
    await ledger.cancel(['job-3'], NOW);
    const all: string[] = [];
    let after: string | undefined;
    do {
      const page = await ledger.list({}, { limit: 10, ...(after !== undefined && { after }) }, NOW);
      all.push(...page.jobs.map(({ id }) => id));
      after = page.next;
    } while (after !== undefined);
    t.strictSame(
      all,
      Array.from({ length: 25 }, (_, at) => `job-${24 - at}`),
    );
    t.equal(ids((await ledger.list({ group: 'g' }, { limit: 9, oldestFirst: true }, NOW)).jobs), 'job-0 job-1 job-2 job-3 job-4');
    t.equal(ids((await ledger.list({ state: 'cancelled' }, { limit: 9 }, NOW)).jobs), 'job-3');
    t.equal(ids((await ledger.list({ workgroup: 'w' }, { limit: 9 }, NOW)).jobs), 'job-7');
    t.equal(ids((await ledger.list({ channel: 'x', group: 'g', state: 'ready' }, { limit: 9 }, NOW)).jobs), 'job-1');
    t.equal(ids((await ledger.list({ idPrefix: 'job-1' }, { limit: 2, oldestFirst: true }, NOW)).jobs), 'job-1 job-10');
    t.strictSame((await ledger.list({ group: 'nobody' }, { limit: 9 }, NOW)).jobs, []);
    await t.rejects(ledger.list({}, { limit: 9, after: 'x' }, NOW), { code: 'request-invalid' });
  });

  test('history: of the latest run only, errors too, 500 lines, and what comes with the end of a run beyond', async (t, ledger) => {
    await ledger.add([{ id: 'a', data: 1, attempts: 5, backoffMs: 0 }], NOW);
    const first = await claimOne(ledger);
    const { lease } = first;
    await ledger.record(
      ann,
      [
        { id: 'a', lease, progress: said('nul \0') },
        { id: 'nobody', lease: 1, progress: said('x') },
      ],
      NOW + 1,
    );
    await ledger.record(ben, [{ id: 'a', lease, progress: said('of another') }], NOW + 1);
    await ledger.settle(ann, [{ ...failed(first), reports: [{ progress: said('the stack') }] }], NOW + 2);
    await ledger.record(ann, [{ id: 'a', lease, progress: said('late, and nobody has it yet') }], NOW + 3);
    const second = await claimOne(ledger, { now: NOW + 3 });
    await ledger.record(
      ann,
      [
        { id: 'a', lease, progress: said('stale') },
        { id: 'a', lease: second.lease, progress: { kind: 'progress', value: 0.5 } },
      ],
      NOW + 4,
    );
    const lines = await ledger.history('a', 0, 10);
    t.match(lines, [
      { at: NOW + 1, kind: 'log', body: { stream: 'stdout', line: 'nul \0' } },
      { at: NOW + 2, kind: 'log', body: { line: 'the stack' } },
      { at: NOW + 2, kind: 'error', body: { code: 'task-threw', message: 'no' } },
      { at: NOW + 3, kind: 'log', body: { line: 'late, and nobody has it yet' } },
      { at: NOW + 4, kind: 'progress', body: 0.5 },
    ]);
    t.equal(lines.length, 5);
    t.equal((await ledger.history('a', lines[0]?.seq ?? 0, 10)).length, 4);
    for (let times = 0; times < 2; times += 1)
      await ledger.record(
        ann,
        Array.from({ length: 700 }, (_, at) => ({ id: 'a', lease: second.lease, progress: said(String(at)) })),
        NOW + 5,
      );
    const reports = [{ progress: said('the last line') }, { progress: { kind: 'progress', value: 1 } as const }];
    await ledger.settle(ann, [{ ...failed(second, { retry: false }), reports }], NOW + 6);
    const all = await ledger.history('a', 0, 1_000);
    t.match(all.slice(498), [
      { body: { line: '493' } },
      { body: { line: '494' } },
      { body: { line: /history of this job is full/ } },
      { body: { line: 'the last line' } },
      { kind: 'progress', body: 1 },
      { kind: 'error' },
    ]);
    await ledger.reset(['a'], NOW);
    await ledger.record(ann, [{ id: 'a', lease: second.lease, progress: said('before it began anew') }], NOW);
    t.strictSame(await ledger.history('a', 0, 10), []);
  });

  test('history: what runs say last is kept with their ends, whatever these are, each once', async (t, ledger) => {
    const all = ['done', 'failed', 'back', 'cancelled', 'else'];
    await ledger.add(
      all.map((id) => ({ id, data: 1 })),
      NOW,
    );
    const jobs = await claim(ledger);
    const [done, bad, back, cancelled, other] = jobs.map((job) => ({
      ...job,
      last: {
        reports: [
          { n: 1, progress: said(`${job.id} 1`) },
          { n: 2, progress: said(`${job.id} 2`) },
        ],
      },
    })) as [Reporting, Reporting, Reporting, Reporting, Reporting];
    await ledger.cancel(['cancelled'], NOW);
    await ledger.extend(ann, [done, bad, back], NOW + 10 * LEASE_MS, NOW);
    await expire(ledger, NOW + LEASE_MS);
    const [taken] = (await claim(ledger, { worker: ben })).filter(({ id }) => id === 'else');
    t.equal(taken?.lease, other.lease + 1);
    const settlements = [
      { ...completed(done), ...done.last },
      { ...failed(bad, { retry: false }), ...bad.last },
      { ...released(back), ...back.last },
      { ...completed(cancelled), ...cancelled.last },
      { ...completed(other), ...other.last },
    ];
    t.same(await ledger.settle(ann, settlements, NOW), ['settled', 'settled', 'settled', 'stale', 'stale']);
    t.same(await ledger.settle(ann, settlements.slice(0, 3), NOW), ['duplicate', 'duplicate', 'duplicate']);
    for (const id of ['done', 'failed', 'back', 'cancelled']) {
      const lines = (await ledger.history(id, 0, 10)).filter(({ kind }) => kind === 'log');
      t.match(lines, [{ body: { line: `${id} 1` } }, { body: { line: `${id} 2` } }]);
      t.equal(lines.length, 2, id);
    }
    t.equal((await ledger.history('else', 0, 10)).filter(({ kind }) => kind === 'log').length, 0, 'another has it');
  });

  test('retention: by state and by group, never what an unfinished child needs', async (t, _ledger, driver) => {
    const { Ledger } = await import('../../src/ledger/ledger.js');
    const ledger = new Ledger(driver, { retention: { completedMs: 1_000, failedMs: 5_000 } }, 0);
    await ledger.putGroup({ id: 'kept', retainMs: 10_000 }, NOW);
    await ledger.add(
      [
        { id: 'done', data: 1, group: 'g' },
        { id: 'failed', data: 1 },
        { id: 'parent', data: 1 },
        { id: 'child', data: 1, parents: ['parent'], delayMs: 1_000_000 },
        { id: 'kept', data: 1, group: 'kept' },
      ],
      NOW,
    );
    const jobs = await claim(ledger);
    await ledger.settle(
      ann,
      jobs.map((job) => (job.id === 'failed' ? failed(job, { retry: false }) : completed(job))),
      NOW,
    );
    const remaining = async () => (await ledger.list({}, { limit: 99, oldestFirst: true }, NOW)).jobs.map(({ id }) => id).join(' ');
    await ledger.maintain(NOW + 999);
    t.equal(await remaining(), 'done failed parent child kept');
    await ledger.maintain(NOW + 1_000);
    t.equal(await remaining(), 'failed parent child kept');
    await ledger.maintain(NOW + 9_999);
    t.equal(await remaining(), 'parent child kept');
    await ledger.maintain(NOW + 10_000);
    t.equal(await remaining(), 'parent child');
    t.equal(await ledger.getGroup('kept'), undefined);
    t.ok(await ledger.getGroup('g'), 'a group without a policy stays');
    await ledger.settle(ann, [completed(await claimOne(ledger, { now: NOW + 1_000_000 }))], NOW + 1_000_000);
    await ledger.maintain(NOW + 2_000_000);
    await ledger.maintain(NOW + 2_000_000);
    t.match(await ledger.counts(), { completed: 0, failed: 0 });
    t.strictSame(await driver.all('SELECT COUNT(*) AS n FROM edge'), [{ n: 0 }]);
    t.strictSame(await driver.all('SELECT COUNT(*) AS n FROM history'), [{ n: 0 }]);
  });

  test('workers and their marks', async (t, ledger) => {
    t.match(await ledger.markWorker({ id: 'key-x', name: 'x' }, { approved: true, drained: true }, NOW), {
      id: 'key-x',
      name: 'x',
      approvedAt: NOW,
      drainedAt: NOW,
    });
    t.match(await ledger.markWorker({ id: 'key-x', name: 'xx' }, { approved: true, drained: false, revoked: true }, NOW + 5), {
      name: 'xx',
      approvedAt: NOW,
      revokedAt: NOW + 5,
    });
    await ledger.add([{ data: 1 }], NOW);
    await claim(ledger);
    t.equal(ids(await ledger.listWorkers()), 'key-x key-ann');
    t.equal((await ledger.getWorker('key-x'))?.drainedAt, undefined);
    t.equal(await ledger.getWorker('nobody'), undefined);
  });

  test('who watches is told what each commit changed', async (t, ledger) => {
    const changes: LedgerChange[] = [];
    const end = ledger.watch((change) => changes.push(change));
    await ledger.add(
      [
        { id: 'a', data: 1, group: 'g' },
        { id: 'b', data: 1, group: 'g', parents: ['a'] },
      ],
      NOW,
    );
    t.match(changes, [
      {
        own: true,
        ready: true,
        settled: false,
        cut: false,
        jobs: [
          { id: 'a', channel: 'default', group: 'g', state: 'ready' },
          { id: 'b', state: 'blocked' },
        ],
        rows: [{ kind: 'group', id: 'g' }],
      },
    ]);
    const a = await claimOne(ledger);
    await ledger.settle(ann, [completed(a)], NOW);
    t.match(changes.at(-1), {
      settled: true,
      ready: true,
      jobs: [
        { id: 'a', state: 'completed' },
        { id: 'b', state: 'ready' },
      ],
    });
    await claim(ledger);
    await ledger.deleteGroup('g', NOW);
    t.ok(changes.some(({ cancelled }) => cancelled.some(({ id, running }) => id === 'b' && running?.workerId === ann.id)));
    t.ok(changes.some(({ jobs }) => jobs.some(({ id, state, group }) => id === 'b' && state === 'deleted' && group === 'g')));
    end();
    const countBefore = changes.length;
    await ledger.add([{ data: 1 }], NOW);
    t.equal(changes.length, countBefore);
  });
}
