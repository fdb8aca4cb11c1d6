import t, { type Test } from 'tap';
import type { ChildInput } from '../../src/job/job.js';
import { MAX_GRAPH_JOBS, MAX_HOLD_MS, MAX_WAIT_MS, TIMEOUT_GRACE_MS } from '../../src/job/limits.js';
import type { ChildPolicy, Ledger, LedgerChange } from '../../src/ledger/ledger.js';
import { engines } from './engines.js';
import { ann, ben, claim, claimIds, claimOne, completed, failed, ids, LEASE_MS, NOW, stateOf } from './verbs.js';

/** Limits that a Worker cannot exceed, whatever it tries. */
for (const engine of engines) {
  const test = (name: string, body: (t: Test, ledger: Ledger) => Promise<void>) =>
    t.test(`${engine.name}: ${name}`, async (t) => body(t, (await engine.open(t, () => 0)).ledger));

  test('a run that is over its time ends, whoever renews it, and is charged as one', async (t, ledger) => {
    await ledger.add([{ id: 'a', data: 1, timeoutMs: 3_000, attempts: 2, backoffMs: 500, backoff: 'fixed' }], NOW);
    const changes: LedgerChange[] = [];
    ledger.watch((change) => changes.push(change));
    const run = await claimOne(ledger);
    const endsAt = NOW + 3_000 + TIMEOUT_GRACE_MS;
    for (let now = NOW; now < endsAt; now += 1_000) {
      t.strictSame(await ledger.extend(ann, [run], now + LEASE_MS, now), []);
      t.match(await ledger.maintain(now), { expired: 0, late: 0 });
    }
    t.match(await ledger.get('a'), { leaseUntil: endsAt });
    t.match(await ledger.maintain(endsAt), { expired: 0, late: 1 });
    t.match(await ledger.get('a', endsAt), { state: 'ready', attempts: { made: 1 }, runAt: endsAt + 500 });
    t.match(await ledger.history('a', 0, 9), [{ kind: 'error', body: { code: 'timeout' } }]);
    const cancelled = changes.flatMap((change) => change.cancelled);
    t.strictSame(cancelled, [{ id: 'a', running: { workerId: ann.id, lease: 1 } }], 'its worker is told');
    t.strictSame(await ledger.settle(ann, [completed(run, 1)], endsAt), ['stale'], 'and its word counts no more');
    t.strictSame(await ledger.extend(ann, [run], endsAt + LEASE_MS, endsAt), [{ id: 'a', lease: 1 }]);
    await claimOne(ledger, { now: endsAt + 500 });
    await ledger.maintain(endsAt + 500 + 3_000 + TIMEOUT_GRACE_MS);
    t.match(await ledger.get('a'), { state: 'failed', settled: { error: { code: 'timeout' }, attempts: 2 } });
  });

  test('a worker that falls silent before has its lease expired, and a job without a limit runs on', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'silent', data: 1 },
        { id: 'endless', data: 1, timeoutMs: 0 },
      ],
      NOW,
    );
    const [, endless] = await claim(ledger);
    await ledger.extend(ann, [endless as never], NOW + 10 ** 9, NOW);
    t.match(await ledger.maintain(NOW + LEASE_MS), { expired: 1, late: 0 });
    t.match(await ledger.history('silent', 0, 9), [{ body: { code: 'lease-expired' } }]);
    t.match(await ledger.get('endless'), { state: 'leased', leaseUntil: NOW + 10 ** 9 });
  });

  test('what waits in its worker has not begun, but not for ever', async (t, ledger) => {
    await ledger.add([{ id: 'a', data: 1, timeoutMs: 3_000 }], NOW);
    const run = await claimOne(ledger);
    let now = NOW;
    for (; now < NOW + MAX_WAIT_MS; now += 10_000) await ledger.extend(ann, [run], now + LEASE_MS, now, { leases: [run] });
    t.match(await ledger.maintain(now), { late: 0 });
    const last = now - 10_000;
    now += 60_000;
    await ledger.extend(ann, [run], now + LEASE_MS, now, { leases: [run] });
    t.match(await ledger.get('a'), { leaseUntil: last + 3_000 + TIMEOUT_GRACE_MS });
    t.match(await ledger.maintain(now), { late: 1 });
  });

  test('an outcome on its way is not over the time of its run, but not for ever', async (t, ledger) => {
    await ledger.add([{ id: 'a', data: 1, timeoutMs: 2 * MAX_WAIT_MS }], NOW);
    const run = await claimOne(ledger);
    const onItsWay = (now: number) => ledger.extend(ann, [run], now + LEASE_MS, now, { leases: [], ended: [run] });
    let now = NOW + 2 * MAX_WAIT_MS - 1_000;
    await ledger.extend(ann, [run], now + LEASE_MS, now);
    for (; now < NOW + 3 * MAX_WAIT_MS; now += 10_000) t.strictSame(await onItsWay(now), []);
    t.match(await ledger.maintain(now), { expired: 0, late: 0 });
    const last = now - 10_000;
    await onItsWay(last + 2 * MAX_WAIT_MS + TIMEOUT_GRACE_MS - 1);
    t.match(await ledger.get('a'), { leaseUntil: last + 2 * MAX_WAIT_MS + TIMEOUT_GRACE_MS });
  });

  test('nobody says of another’s lease that it waits', async (t, ledger) => {
    await ledger.add([{ id: 'a', data: 1, timeoutMs: 3_000 }], NOW);
    const run = await claimOne(ledger);
    const now = NOW + 10_000;
    t.strictSame(await ledger.extend(ben, [run], now + LEASE_MS, now, { leases: [run] }), [{ id: 'a', lease: 1 }]);
    t.match(await ledger.get('a'), { leaseUntil: NOW + 3_000 + TIMEOUT_GRACE_MS });
    t.strictSame(await ledger.lost(ben, [run]), [{ id: 'a', lease: 1 }]);
    t.strictSame(await ledger.lost(ann, [run, { id: 'a', lease: 2 }, { id: 'none', lease: 1 }]), [
      { id: 'a', lease: 2 },
      { id: 'none', lease: 1 },
    ]);
  });

  test('a worker holds no more than it may, wherever it got it', async (t, ledger) => {
    await ledger.add(
      Array.from({ length: 30 }, (_, at) => ({ id: `j${at}`, data: at, channel: at < 10 ? 'default' : 'other' })),
      NOW,
    );
    let full = 0;
    const ask = (limit: number, channel = 'default', worker = ann) =>
      ledger.claim({ worker, channels: [channel], limit, until: NOW + LEASE_MS, maxHeld: 9, onFull: () => full++ }, NOW);
    const first = await ask(5);
    t.equal(first.length, 5);
    t.equal(full, 0);
    t.equal((await ask(10_000, 'other')).length, 4);
    t.ok(full > 0);
    t.equal((await ask(1)).length, 0);
    t.equal((await ask(9, 'other', ben)).length, 9, 'others are not concerned');
    await ledger.settle(ann, [completed(first[0] as never, 1)], NOW);
    t.equal((await ask(10_000)).length, 1);
  });

  test('children stay within what their creator has and its task declares', async (t, ledger) => {
    const only: ChildPolicy = (channel) => (channel === 'declaring' ? { channels: ['pages'], workgroups: ['api'] } : {});
    await ledger.add([{ id: 'stranger', data: 'secret', channel: 'secret' }], NOW);
    let count = 0;
    const tryChildren = async (children: readonly ChildInput[], creator: object = {}, policy: ChildPolicy | undefined = only) => {
      const id = `p${count++}`;
      await ledger.add([{ id, data: 1, priority: 5, ...creator }], NOW);
      const channel = (creator as { channel?: string }).channel ?? 'default';
      const labels = ['gpu'];
      const run = (await claim(ledger, { channels: [channel], labels, limit: 100 })).find((job) => job.id === id);
      await ledger.settle(ann, [completed(run as never, 1, { children })], NOW, policy);
      return (await ledger.get(id))?.settled?.error?.message ?? 'created';
    };
    const child = (more: Partial<ChildInput> = {}): ChildInput => ({ data: 1, ...more });
    for (const [children, creator, message] of [
      [[child({ channel: 'other' })], {}, /child 0: its channel "other"/],
      [[child(), child({ channel: 'pages' })], {}, /child 1: its channel "pages"/],
      [[child({ channel: 'pages' })], { channel: 'declaring' }, 'created'],
      [[child({ channel: 'default' })], { channel: 'declaring' }, /its channel "default"/],
      [[child({ workgroup: 'api' })], {}, /its workgroup "api"/],
      [[child({ workgroup: 'api' })], { channel: 'declaring' }, 'created'],
      [[child({ workgroup: 'own' })], { workgroup: 'own' }, 'created'],
      [[child({ priority: 6 })], {}, /its priority 6 is above the 5/],
      [[child({ priority: 1_000_000 })], {}, /its priority/],
      [[child({ priority: 5 }), child({ priority: -1 })], {}, 'created'],
      [[child({ priority: 0 })], { priority: -3 }, /above the -3/],
      [[child({ seed: true })], {}, /it is a seed/],
      [[child({ seed: true })], { seed: true, group: 'g' }, 'created'],
      [[child({ persistent: true })], {}, /it is persistent/],
      [[child({ timeoutMs: 0 })], {}, /it has no time limit/],
      [[child({ timeoutMs: 0 })], { timeoutMs: 0 }, 'created'],
      [[child({ group: 'victims' } as never)], {}, /it joins the group/],
      [[child({ parents: ['stranger'] })], {}, /no sibling is called/],
      [[child({ id: 'stranger', ref: 's' }), child({ parents: ['s'] })], {}, /there is a job "stranger" already/],
      [
        [child({ id: 'x', parents: ['y'] }), child({ id: 'y', ref: 'y', parents: ['z'] }), child({ id: 'x', ref: 'z' })],
        {},
        /of the same id wait for each other in a cycle/,
      ],
      [[child({ runAt: NOW + 400 * 86_400_000 })], {}, /runAt/],
    ] as const)
      t.match(await tryChildren(children, creator), message, JSON.stringify(children));
    t.match(await tryChildren([child({ id: `p${count}` })]), /its id is that of its creator/);
    t.match(await tryChildren([child({ channel: 'other' })], {}, undefined), /its channel "other"/, 'by default only its own channel');
    t.equal(await tryChildren([child({ channel: 'other', priority: 9 })], {}, 'any'), 'created', 'whoever may push may create');
    t.match(await ledger.get('stranger'), { state: 'ready', children: [] });
    await tryChildren([child({ id: 'low' }), child({ id: 'labelled', requires: ['big'] })], { priority: -3, requires: ['gpu'] });
    t.match(await ledger.get('low'), { priority: -3, requires: ['gpu'] });
    t.match(await ledger.get('labelled'), { requires: ['big', 'gpu'] });
  });

  test('a hold or a delay that is too long fails the run, and of a failed one only the hold goes', async (t, ledger) => {
    await ledger.add(
      ['a', 'b', 'c', 'd'].map((id) => ({ id, data: 1, workgroup: 'w', attempts: 1 })),
      NOW,
    );
    const [a, b, c, d] = (await claim(ledger)) as [never, never, never, never];
    const long = MAX_HOLD_MS + 1;
    await ledger.settle(
      ann,
      [completed(a, 1, { holdMs: long }), completed(b, 1, { childrenDelayMs: long }), failed(c, { holdMs: long })],
      NOW,
    );
    for (const id of ['a', 'b']) t.match(await ledger.get(id), { state: 'failed', settled: { error: { code: 'hold-too-long' } } });
    t.match(await ledger.get('c'), { settled: { error: { code: 'task-threw', message: /hold of 86400001 ms/ } } });
    t.notOk((await ledger.getWorkgroup('w'))?.heldUntil);
    await ledger.settle(ann, [completed(d, 1, { holdMs: MAX_HOLD_MS })], NOW);
    t.match(await ledger.getWorkgroup('w'), { heldUntil: NOW + MAX_HOLD_MS });
  });

  test('what a worker says of its times stays between its lease and now', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'a', data: 1 },
        { id: 'b', data: 1, key: 'not plain' },
      ],
      NOW,
    );
    const runs = await claim(ledger);
    const wrong = runs.map((run) => ({ ...completed(run, 1), startedAt: 8_640_000_000_000_000, finishedAt: 0 }));
    await ledger.settle(ann, wrong, NOW + 50);
    await ledger.add(
      [
        { id: 'c', data: 1 },
        { id: 'd', data: 1, key: 'nor this' },
      ],
      NOW,
    );
    const more = (await claim(ledger)).map((run) => ({ ...completed(run, 1), startedAt: 0, finishedAt: 8_640_000_000_000_000 }));
    await ledger.settle(ann, more, NOW + 50);
    for (const id of ['a', 'b', 'c', 'd']) {
      const { startedAt = 0, finishedAt = 0 } = (await ledger.get(id)) ?? {};
      t.ok(NOW <= startedAt && startedAt <= finishedAt && finishedAt <= NOW + 50, `${id}: ${startedAt} ${finishedAt}`);
    }
  });

  test('a long list lets others in between, a graph that is too large is refused whole', async (t, ledger) => {
    const order: string[] = [];
    const adding = ledger
      .add(
        Array.from({ length: 3_000 }, () => ({ data: 1 })),
        NOW,
      )
      .then(() => order.push('list'));
    for (let at = 0; at < 3; at += 1) {
      await ledger.lastSettled();
      order.push('asked');
    }
    await adding;
    t.strictSame(order, ['asked', 'asked', 'asked', 'list']);
    const graph = Array.from({ length: MAX_GRAPH_JOBS + 1 }, (_, at) => ({ id: `g${at}`, data: 1, parents: at === 0 ? [] : ['g0'] }));
    await t.rejects(ledger.add(graph, NOW), { code: 'graph-too-large' });
    t.equal(await stateOf(ledger, 'g0'), undefined);
    await t.rejects(ledger.add([{ data: 1 }, { data: 1, runAt: NOW + 400 * 86_400_000 }], NOW), { code: 'job-invalid' });
  });

  test('reports and claims of one id touch no other', async (t, ledger) => {
    await ledger.add([{ id: 'a', data: 1 }], NOW);
    const run = await claimOne(ledger);
    t.equal(ids([run]), 'a');
    t.equal(await claimIds(ledger, { worker: ben }), '');
  });
}
