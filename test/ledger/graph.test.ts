import t, { type Test } from 'tap';
import type { Ledger } from '../../src/ledger/ledger.js';
import { seededRandom } from '../lab/seeded-random.js';
import { engines } from './engines.js';
import { ann, ben, claim, claimIds, claimOne, completed, failed, ids, NOW, runAll, stateOf } from './verbs.js';

for (const engine of engines) {
  const test = (name: string, body: (t: Test, ledger: Ledger) => Promise<void>) =>
    t.test(`${engine.name}: ${name}`, async (t) => body(t, (await engine.open(t, () => 0)).ledger));
  const job = (id: string, ...parents: string[]) => ({ id, data: { is: id }, parents });

  test('children run after all their parents, in whatever order they are pushed, and are handed the outputs', async (t, ledger) => {
    await ledger.add([job('d', 'c', 'b'), job('b', 'a'), job('c', 'a'), { id: 'a', data: 1 }], NOW);
    t.match(await ledger.counts(), { blocked: 3, ready: 1 });
    const a = await claimOne(ledger);
    t.notOk('parents' in a, 'who has none is given none');
    await ledger.settle(ann, [completed(a, 'of a')], NOW);
    const [b, c] = (await claim(ledger)) as [Awaited<ReturnType<typeof claimOne>>, Awaited<ReturnType<typeof claimOne>>];
    t.equal(ids([b, c]), 'b c');
    t.strictSame(b.parents, [{ id: 'a', channel: 'default', data: '1', output: '"of a"' }]);
    await ledger.settle(ann, [completed(c, 'of c')], NOW);
    t.equal(await claimIds(ledger), '', 'one parent is not all');
    await ledger.settle(ann, [completed(b, 'of b')], NOW);
    const d = await claimOne(ledger);
    t.strictSame(
      d.parents?.map(({ id, output }) => [id, output]),
      [
        ['c', '"of c"'],
        ['b', '"of b"'],
      ],
      'in the order in which the job names them',
    );
    t.match(await ledger.get('d'), { parents: ['c', 'b'], children: [] });
    t.match(await ledger.get('a'), { children: ['d', 'b', 'c'].filter((id) => id !== 'd') });
  });

  test('parents in the ledger: waiting, completed, unknown', async (t, ledger) => {
    await ledger.add([job('old'), job('done')], NOW);
    const jobs = await claim(ledger);
    await ledger.settle(ann, [completed(jobs.find(({ id }) => id === 'done') as never, 7)], NOW);
    await ledger.add([job('x', 'done'), job('y', 'old', 'done')], NOW);
    t.equal(await stateOf(ledger, 'x'), 'ready');
    t.equal(await stateOf(ledger, 'y'), 'blocked');
    await t.rejects(ledger.add([job('new'), job('z', 'nobody')], NOW), { code: 'parent-unknown', detail: 'nobody' });
    t.equal(await ledger.get('new'), undefined, 'all or nothing');
    await ledger.settle(ann, [completed(jobs.find(({ id }) => id === 'old') as never)], NOW);
    t.equal(await claimIds(ledger), 'x y');
  });

  test('a circle is refused before anything is written, also a long one', async (t, ledger) => {
    await t.rejects(ledger.add([job('a', 'c'), job('b', 'a'), job('c', 'b'), job('free')], NOW), {
      code: 'graph-cycle',
      detail: /^a → b → c → a$|^b → c → a → b$|^c → a → b → c$/,
    });
    await t.rejects(ledger.add([job('self', 'self')], NOW), { code: 'graph-cycle' });
    const long = Array.from({ length: 10_000 }, (_, at) => job(`j${at}`, `j${(at + 1) % 10_000}`));
    await t.rejects(ledger.add(long, NOW), { code: 'graph-cycle', detail: / → …$/ });
    t.match(await ledger.counts(), { blocked: 0, ready: 0 });
  });

  test('pushed twice, a graph is added once', async (t, ledger) => {
    const graph = [job('a'), job('b', 'a'), job('c', 'a', 'b')];
    await ledger.add(graph, NOW);
    const again = await ledger.add(graph, NOW);
    t.strictSame(
      again.map(({ added }) => added),
      [false, false, false],
    );
    t.strictSame(await runAll(ledger), ['a', 'b', 'c']);
    await ledger.add([...graph, job('d', 'c', 'b')], NOW);
    t.equal(await claimIds(ledger), 'd');
  });

  test('parent failure: fail, wait and run (crew: a failed parent blocked its descendants silently for ever)', async (t, ledger) => {
    await ledger.add(
      [
        job('p'),
        job('fails', 'p'),
        { ...job('waits', 'p'), parentFailure: 'wait' },
        { ...job('runs', 'p', 'q'), parentFailure: 'run' },
        job('q'),
        job('below', 'fails'),
        { ...job('runs below', 'fails'), parentFailure: 'run' },
      ],
      NOW,
    );
    const [p, q] = (await claim(ledger)) as [never, never];
    await ledger.settle(ann, [failed(p, { retry: false })], NOW);
    t.match(await ledger.get('fails'), { state: 'failed', settled: { error: { code: 'parent-failed', message: /p$/ }, attempts: 0 } });
    t.match(await ledger.get('below'), { state: 'failed', settled: { error: { code: 'parent-failed', message: /fails$/ } } });
    t.equal(await stateOf(ledger, 'waits'), 'blocked');
    t.equal(await stateOf(ledger, 'runs'), 'blocked', 'it waits for its other parent');
    t.equal(await claimIds(ledger), 'runs below');
    await ledger.settle(ann, [completed(q, 'q')], NOW);
    const runs = await claimOne(ledger);
    t.strictSame(
      runs.parents?.map(({ output }) => output),
      ['null', '"q"'],
    );
    await ledger.retry(['p'], NOW);
    t.equal(await stateOf(ledger, 'fails'), 'blocked');
    t.equal(await stateOf(ledger, 'below'), 'blocked');
    await ledger.settle(ann, [completed(await claimOne(ledger))], NOW);
    t.equal(await claimIds(ledger), 'fails waits');
  });

  test('a child of a parent that has failed already', async (t, ledger) => {
    await ledger.add([job('p')], NOW);
    await ledger.settle(ann, [failed(await claimOne(ledger), { retry: false })], NOW);
    await ledger.add(
      [job('a', 'p'), { ...job('b', 'p'), parentFailure: 'run' }, { ...job('c', 'p'), parentFailure: 'wait' }, job('d', 'a')],
      NOW,
    );
    t.strictSame(await Promise.all(['a', 'b', 'c', 'd'].map((id) => stateOf(ledger, id))), ['failed', 'ready', 'blocked', 'failed']);
  });

  test('a chain of 10,000 fails at once, and is retried at once', async (t, ledger) => {
    await ledger.add(
      Array.from({ length: 10_000 }, (_, at) => job(`j${at}`, ...(at === 0 ? [] : [`j${at - 1}`]))),
      NOW,
    );
    await ledger.settle(ann, [failed(await claimOne(ledger), { retry: false })], NOW);
    t.match(await ledger.counts(), { failed: 10_000, blocked: 0 });
    await ledger.retry(['j0'], NOW);
    t.match(await ledger.counts(), { failed: 0, blocked: 9_999, ready: 1 });
  });

  test('continuations: in any order, cycles refused, delay as a floor', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'p', data: null, group: 'g' },
        { ...job('late', 'p'), group: 'g', delayMs: 60_000 },
        { ...job('soon', 'p'), group: 'g' },
      ],
      NOW,
    );
    const p = await claimOne(ledger);
    const children = [
      { id: 'last', data: 3, ref: 'c', parents: ['b', 'a'] },
      { id: 'second', data: 2, ref: 'b', parents: ['a'] },
      { id: 'first', data: 1, ref: 'a' },
      { id: 'alone', data: 0, parents: [] },
    ];
    t.strictSame(await ledger.settle(ann, [completed(p, 'out', { children, childrenDelayMs: 10_000 })], NOW), ['settled']);
    t.equal(await claimIds(ledger), 'alone', 'it is nobody’s child');
    t.equal(await claimIds(ledger, { now: NOW + 9_999 }), '');
    t.match(await ledger.get('late'), { state: 'ready', runAt: NOW + 60_000 }, 'a floor lowers nothing');
    const direct = await claim(ledger, { now: NOW + 10_000 });
    t.equal(ids(direct), 'soon first');
    t.strictSame(
      direct[1]?.parents?.map(({ id, output }) => [id, output]),
      [['p', '"out"']],
    );
    await ledger.settle(
      ann,
      direct.map((each) => completed(each)),
      NOW + 10_000,
    );
    t.strictSame(await runAll(ledger, { now: NOW + 10_000 }), ['second', 'last']);
    t.match(await ledger.getGroup('g'), { counts: { completed: 5 } });
  });

  test('children that cannot be created: the run fails, and nothing of it is there (crew: children listed before their parents were dropped)', async (t, ledger) => {
    const bad = [
      [
        [
          { data: 1, ref: 'a', parents: ['b'] },
          { data: 1, ref: 'b', parents: ['a'] },
        ],
        /cycle/,
      ],
      [[{ data: 1, parents: ['nobody'] }], /nobody/],
      [
        [
          { data: 1, ref: 'x' },
          { data: 1, ref: 'x' },
        ],
        /two children are called "x"/,
      ],
      [[{ data: 1 }, {}], /child 1: data is missing/],
      [[{ data: 1, group: 'other' }], /group/],
    ] as const;
    for (const [at, [children, message]] of bad.entries()) {
      await ledger.add([{ id: `p${at}`, data: null }, job(`c${at}`, `p${at}`)], NOW);
      const p = await claimOne(ledger);
      t.strictSame(await ledger.settle(ann, [completed(p, 1, { children: children as never })], NOW), ['settled']);
      t.match(await ledger.get(`p${at}`), { state: 'failed', settled: { error: { code: 'children-invalid', message } } });
      t.strictSame(await ledger.settle(ann, [completed(p, 1, { children: children as never })], NOW), ['duplicate']);
    }
    t.match(await ledger.counts(), { failed: bad.length * 2, ready: 0, blocked: 0 }, 'their children fail with them, none was made');
  });

  test('a settlement that is told again makes no child twice', async (t, ledger) => {
    await ledger.add([job('p')], NOW);
    const p = await claimOne(ledger);
    const settlement = completed(p, 1, { children: [{ data: 1 }, { data: 2 }] });
    t.strictSame(await ledger.settle(ann, [settlement, settlement], NOW), ['settled', 'duplicate']);
    t.strictSame(await ledger.settle(ann, [settlement], NOW), ['duplicate']);
    t.match(await ledger.counts(), { ready: 2 });
  });

  test('two last parents in two calls at once (crew: a random sleep; pg-boss: the child was stranded)', async (t, ledger) => {
    await ledger.add([job('a'), job('b'), job('child', 'a', 'b')], NOW);
    const a = await claimOne(ledger);
    const b = await claimOne(ledger, { worker: ben });
    await Promise.all([ledger.settle(ann, [completed(a)], NOW), ledger.settle(ben, [completed(b)], NOW)]);
    t.equal(await claimIds(ledger), 'child');
  });

  test('deleting takes what descends, resetting blocks again', async (t, ledger) => {
    await ledger.add([job('a'), job('b', 'a'), job('c', 'b'), job('other')], NOW);
    await ledger.settle(ann, [completed(await claimOne(ledger), 1)], NOW);
    t.strictSame(await ledger.reset(['a', 'b'], NOW), []);
    t.strictSame([await stateOf(ledger, 'a'), await stateOf(ledger, 'b')], ['ready', 'blocked']);
    t.equal((await ledger.get('a'))?.settled, undefined);
    await ledger.settle(ann, [completed(await claimOne(ledger), 2)], NOW);
    const b = await claimOne(ledger, { worker: ben });
    t.equal(b.id, 'b');
    t.match(await ledger.delete(['a', 'nobody'], NOW), {
      deleted: 3,
      cancelled: [{ id: 'b', running: { workerId: ben.id, lease: b.lease } }],
    });
    t.match(await ledger.counts(), { completed: 0, blocked: 0, leased: 0, ready: 1 });
    t.strictSame(await ledger.settle(ben, [completed(b)], NOW), ['stale']);
  });

  t.test(`${engine.name}: 1,000 jobs with three parents each: none is early, all end`, async (t) => {
    const { next: random } = seededRandom(7);
    const { ledger, driver } = await engine.open(t, random);
    const count = 1_000;
    const parentsOf = Array.from({ length: count }, (_, at) => [
      ...new Set(Array.from({ length: Math.min(3, at) }, () => Math.floor(random() * at))),
    ]);
    await ledger.add(
      parentsOf.map((parents, at) => ({ id: `j${at}`, data: at, parents: parents.map((parent) => `j${parent}`) })).reverse(),
      NOW,
    );
    const done = new Set<string>();
    while (done.size < count) {
      const jobs = await claim(ledger, { limit: 1 + Math.floor(random() * 40) });
      if (jobs.length === 0) break;
      for (const { id } of jobs)
        for (const parent of parentsOf[Number(id.slice(1))] ?? []) if (!done.has(`j${parent}`)) t.fail(`${id} before j${parent}`);
      await ledger.settle(
        ann,
        jobs.map((each) => completed(each)),
        NOW,
      );
      for (const { id } of jobs) done.add(id);
    }
    t.equal(done.size, count);
    t.strictSame(await driver.all('SELECT COUNT(*) AS n FROM job WHERE pending <> 0'), [{ n: 0 }]);
    t.match(await ledger.counts(), { completed: count, blocked: 0 });
  });
}
