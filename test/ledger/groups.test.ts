import t, { type Test } from 'tap';
import type { Driver } from '../../src/ledger/driver.js';
import type { Ledger } from '../../src/ledger/ledger.js';
import { engines, expire } from './engines.js';
import { ann, claim, claimIds, claimOne, completed, failed, ids, NOW, runAll, stateOf } from './verbs.js';

for (const engine of engines) {
  const test = (name: string, body: (t: Test, ledger: Ledger, driver: Driver) => Promise<void>) =>
    t.test(`${engine.name}: ${name}`, async (t) => {
      const { ledger, driver } = await engine.open(t, () => 0);
      await body(t, ledger, driver);
    });
  const job = (id: string, more: object = {}) => ({ id, data: null, group: 'g', ...more });

  test('a group is made when it is first named; progress is by weight (crew: counted tasks)', async (t, ledger) => {
    await ledger.add([job('a', { weight: 3 }), job('b', { weight: 1 }), job('c', { weight: 0 })], NOW);
    t.match(await ledger.getGroup('g'), { id: 'g', name: 'g', paused: false, parentFailure: 'fail', createdAt: NOW, progress: 0 });
    await ledger.settle(ann, [completed(await claimOne(ledger))], NOW);
    t.match(await ledger.getGroup('g'), { progress: 0.75, counts: { ready: 2, completed: 1 } });
    await ledger.change('b', { weight: 5 }, NOW);
    t.match(await ledger.getGroup('g'), { progress: 3 / 8 });
    t.equal(await ledger.getGroup('other'), undefined);
    t.match(await ledger.putGroup({ id: 'g', name: 'Group', parentFailure: 'wait', retainMs: 5, meta: { x: 1 } }, NOW + 9), {
      name: 'Group',
      parentFailure: 'wait',
      retainMs: 5,
      createdAt: NOW,
      meta: { x: 1 },
    });
    for (const bad of [
      { id: '' },
      { id: 'g', name: 1 },
      { id: 'g', paused: 'yes' },
      { id: 'g', parentFailure: 'x' },
      { id: 'g', retainMs: -1 },
    ])
      await t.rejects(ledger.putGroup(bad as never, NOW), { code: 'group-invalid' });
  });

  test('weights have decimals, and their sums are exact: what was counted up comes down to nothing', async (t, ledger, driver) => {
    const weights = [0.1, 0.2, 0.3, 0.000001, 999_999.999999, 0.25];
    await ledger.add(
      weights.map((weight, at) => job(`j${at}`, { weight })),
      NOW,
    );
    for (const [at, weight] of weights.entries()) t.match(await ledger.get(`j${at}`), { weight });
    for (const weight of [0.0000001, 1 / 3, -0.1, 1_000_000.5, Number.NaN])
      await t.rejects(ledger.add([job('bad', { weight })], NOW), { code: 'job-invalid' }, String(weight));
    await ledger.change('j5', { weight: 1.5 }, NOW);
    t.match(await ledger.get('j5'), { weight: 1.5 });
    const sums = 'SELECT CAST(SUM(weight) AS INTEGER) AS whole, CAST(SUM(weight_part) AS INTEGER) AS parts FROM grp_tally';
    await ledger.delete(['j0', 'j1', 'j3', 'j4'], NOW);
    await ledger.settle(ann, [completed(await claimOne(ledger))], NOW);
    t.match(await ledger.getGroup('g'), { progress: 0.3 / 1.8 });
    await ledger.delete(['j2', 'j5'], NOW);
    t.strictSame(await driver.all(sums), [{ whole: 0, parts: 0 }]);
  });

  test('a job that has ended is changed for its next life, if that is asked for', async (t, ledger) => {
    await ledger.add([job('a', { weight: 1 }), job('b', { weight: 1 })], NOW);
    await ledger.settle(ann, [completed(await claimOne(ledger))], NOW);
    await t.rejects(ledger.change('a', { name: 'x' }, NOW), { code: 'job-ended' });
    await t.rejects(ledger.change('a', { attemptsLeft: 2 }, NOW, { ended: true }), { code: 'job-ended' });
    const changes = { name: 'x', weight: 3, meta: { m: 1 }, channel: 'other', data: 'new', runAt: NOW + 5 };
    t.match(await ledger.change('a', changes, NOW, { ended: true }), {
      state: 'completed',
      name: 'x',
      weight: 3,
      channel: 'other',
      data: 'new',
    });
    t.match(await ledger.getGroup('g'), { progress: 0.75, counts: { completed: 1, ready: 1 } });
    await ledger.reset(['a'], NOW);
    t.equal(await claimIds(ledger, { channels: ['other'] }), 'a');
  });

  test('pause: later jobs obey, running ones go on, others are not held up, and one row is written', async (t, ledger, driver) => {
    await ledger.add([job('a', { priority: 9 }), job('b', { priority: 9 }), job('free', { group: 'h' })], NOW);
    const a = await claimOne(ledger);
    t.ok(await ledger.pauseGroup('g'));
    t.strictSame(await driver.all('SELECT COUNT(*) AS n FROM job WHERE parked IS NOT NULL'), [{ n: 0 }]);
    await ledger.add([job('later', { priority: 9 })], NOW);
    t.equal(await claimIds(ledger, { limit: 1 }), 'free', 'a paused group in front of the line is walked over');
    t.match(await ledger.get('b'), { state: 'ready', waiting: 'group-paused' });
    t.strictSame(await ledger.settle(ann, [completed(a)], NOW), ['settled']);
    t.ok(await ledger.resumeGroup('g'));
    t.equal(await claimIds(ledger), 'b later', 'in their old places');
    t.notOk(await ledger.pauseGroup('nobody'));
    t.notOk(await ledger.resumeGroup('nobody'));
  });

  test('thousands of paused jobs: claims walk over them once, resuming lets all out', async (t, ledger, driver) => {
    await ledger.add(
      Array.from({ length: 5_000 }, (_, at) => job(`p${at}`, { priority: 1 })),
      NOW,
    );
    await ledger.add([job('free', { group: 'h' })], NOW);
    await ledger.pauseGroup('g');
    let found = '';
    for (let tries = 0; tries < 10 && found === ''; tries += 1) found = await claimIds(ledger);
    t.equal(found, 'free');
    t.strictSame(await driver.all("SELECT COUNT(*) AS n FROM job WHERE parked = 'group'"), [{ n: 5_000 }]);
    await ledger.resumeGroup('g');
    await expire(ledger, NOW);
    t.strictSame(await driver.all('SELECT COUNT(*) AS n FROM job WHERE parked IS NOT NULL'), [{ n: 0 }]);
    t.equal((await claim(ledger, { limit: 9_000 })).length, 5_000);
  });

  test('retry of a group, the dead list and its redrive', async (t, ledger) => {
    await ledger.add([job('a'), job('b'), job('c', { channel: 'x' }), { id: 'd', data: null }], NOW);
    const jobs = await claim(ledger, { channels: ['default', 'x'] });
    await ledger.settle(
      ann,
      jobs.map((each) => failed(each, { retry: false })),
      NOW,
    );
    t.match(await ledger.list({ state: 'failed' }, { limit: 10 }, NOW), { jobs: [{ id: 'd' }, { id: 'c' }, { id: 'b' }, { id: 'a' }] });
    t.equal(await ledger.redrive({ channel: 'x' }, 10, NOW), 1);
    t.equal(await ledger.redrive({}, 1, NOW), 1);
    t.equal(await ledger.redrive({ state: 'cancelled' }, 10, NOW), 0);
    t.equal(await claimIds(ledger), 'a');
    t.equal(await ledger.retryGroup('g', NOW), 1);
    t.match(await ledger.get('b'), { state: 'ready', attempts: { made: 0 } });
    t.equal(await ledger.retryGroup('nobody', NOW), undefined);
    t.strictSame(await ledger.retry(['d', 'a', 'nobody'], NOW), ['d']);
  });

  test('reset with seeds deletes the others; without, all begin anew', async (t, ledger) => {
    await ledger.add([job('seed', { seed: true }), job('old')], NOW);
    const [seed, old] = await claim(ledger);
    await ledger.settle(ann, [completed(seed as never, 1, { children: [{ id: 'made', data: 1 }] })], NOW);
    t.match(await ledger.resetGroup('g', NOW), [{ id: 'old', running: { workerId: ann.id, lease: 1 } }]);
    t.strictSame(await ledger.settle(ann, [completed(old as never)], NOW), ['stale']);
    t.match(await ledger.getGroup('g'), { counts: { ready: 1, completed: 0, leased: 0 } });
    t.match(await ledger.get('seed'), { state: 'ready', attempts: { made: 0 } });
    t.equal(await ledger.get('made'), undefined);
    await ledger.add(
      [
        { id: 'x', data: 1, group: 'h' },
        { id: 'y', data: 1, group: 'h', parents: ['x'] },
      ],
      NOW,
    );
    t.strictSame(await runAll(ledger), ['seed x', 'y']);
    t.strictSame(await ledger.resetGroup('h', NOW), []);
    t.strictSame([await stateOf(ledger, 'x'), await stateOf(ledger, 'y')], ['ready', 'blocked']);
    t.equal(await ledger.resetGroup('nobody', NOW), undefined);
  });

  test('cancel and delete of a large group', async (t, ledger) => {
    const many = Array.from({ length: 1_200 }, (_, at) => job(`m${at}`, at % 2 === 1 ? { parents: [`m${at - 1}`] } : {}));
    await ledger.add([...many, { id: 'other', data: 1 }], NOW);
    const [run] = await claim(ledger, { limit: 1 });
    const cancelled = await ledger.cancelGroup('g', NOW);
    t.equal(cancelled?.length, 1_200);
    t.strictSame(
      cancelled?.filter(({ running }) => running !== undefined),
      [{ id: 'm0', running: { workerId: ann.id, lease: run?.lease } }],
    );
    t.match(await ledger.counts(), { cancelled: 1_200, failed: 0, ready: 1 });
    t.strictSame(await ledger.deleteGroup('g', NOW), []);
    t.equal(await ledger.getGroup('g'), undefined);
    t.match(await ledger.counts(), { cancelled: 0, ready: 1 });
    t.equal(await ledger.deleteGroup('g', NOW), undefined);
    t.equal(await ledger.cancelGroup('g', NOW), undefined);
    await ledger.add([job('again')], NOW);
    t.match(await ledger.getGroup('g'), { counts: { ready: 1 } });
  });

  test('the policy of a group is that of its jobs, unless they have one', async (t, ledger) => {
    await ledger.putGroup({ id: 'g', parentFailure: 'run' }, NOW);
    await ledger.add([job('p'), job('a', { parents: ['p'] }), job('b', { parents: ['p'], parentFailure: 'wait' })], NOW);
    t.match(await ledger.get('a'), { parentFailure: 'run' });
    await ledger.settle(ann, [failed(await claimOne(ledger), { retry: false })], NOW);
    t.equal(await claimIds(ledger), 'a');
    t.equal(await stateOf(ledger, 'b'), 'blocked');
  });

  test('the graph of a group, and pages of groups', async (t, ledger) => {
    await ledger.add([job('c', { parents: ['a', 'b'], name: 'Sea' }), job('a'), job('b'), { id: 'outside', data: 1, parents: ['a'] }], NOW);
    const graph = await ledger.graphOf('g', 10);
    t.match(graph?.nodes, [{ id: 'c', name: 'Sea', state: 'blocked' }, { id: 'a', state: 'ready' }, { id: 'b' }]);
    t.strictSame(graph?.edges, [
      [1, 0],
      [2, 0],
    ]);
    t.match(await ledger.graphOf('g', 2), { truncated: true, edges: [[1, 0]] });
    t.equal(await ledger.graphOf('nobody', 10), undefined);
    for (const id of ['h', 'i']) await ledger.putGroup({ id }, NOW);
    const first = await ledger.listGroups({ limit: 2 });
    t.equal(ids(first.groups), 'g h');
    const second = await ledger.listGroups({ limit: 2, ...(first.next !== undefined && { after: first.next }) });
    t.equal(ids(second.groups), 'i');
    t.equal(second.next, undefined);
  });
}
